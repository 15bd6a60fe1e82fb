"""A toy shop behind Composio's v3.1 wire, for demos and tests. It sells nothing and reaches nothing."""

from connectors.shop.server import serve_shop

__all__ = ["serve_shop"]
