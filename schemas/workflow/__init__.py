"""The workflow dialect: what a definition says, and the template language its prompts are written in."""
