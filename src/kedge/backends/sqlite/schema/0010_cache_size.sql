-- The bytes of all cache entries. Triggers keep the sum, so that processes of an older package keep it too.
CREATE TABLE cache_size (
    id    INTEGER PRIMARY KEY,
    bytes INTEGER NOT NULL
);

INSERT INTO cache_size (id, bytes) SELECT 1, coalesce(sum(bytes), 0) FROM cache;

CREATE TRIGGER cache_size_insert AFTER INSERT ON cache BEGIN
    UPDATE cache_size SET bytes = bytes + NEW.bytes;
END;

CREATE TRIGGER cache_size_update AFTER UPDATE OF bytes ON cache BEGIN
    UPDATE cache_size SET bytes = bytes + NEW.bytes - OLD.bytes;
END;

CREATE TRIGGER cache_size_delete AFTER DELETE ON cache BEGIN
    UPDATE cache_size SET bytes = bytes - OLD.bytes;
END;

CREATE INDEX cache_by_expiry ON cache (expires) WHERE expires IS NOT NULL;
