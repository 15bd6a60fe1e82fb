-- Knowledge documents. They exist nowhere else: a rebuild never touches them.
-- Needs pgvector 0.8 or newer.

CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE knowledge_documents (
    document_id text PRIMARY KEY,
    source      text NOT NULL UNIQUE,
    title       text NOT NULL,
    content     text NOT NULL,
    metadata    jsonb NOT NULL DEFAULT '{}',
    added_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE knowledge_documents IS 'What the agents may read. document_id is the digest of title and content.';

CREATE TABLE knowledge_chunks (
    document_id text    NOT NULL REFERENCES knowledge_documents ON DELETE CASCADE,
    position    integer NOT NULL,
    heading     text    NOT NULL,
    text        text    NOT NULL,
    embedder    text    NOT NULL,
    dimensions  integer NOT NULL,
    embedding   vector  NOT NULL,
    PRIMARY KEY (document_id, position)
);
CREATE INDEX knowledge_chunks_embedder ON knowledge_chunks (embedder);
-- One index a vector length; the knowledge store adds one when an embedder of another length is first used.
CREATE INDEX knowledge_chunks_hnsw_256 ON knowledge_chunks
    USING hnsw ((embedding::vector(256)) vector_cosine_ops) WHERE dimensions = 256;
COMMENT ON TABLE knowledge_chunks IS 'Passages of the documents with their vectors and the embedder that made them: vectors of two embedders cannot be compared.';
