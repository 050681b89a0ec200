-- The bytes of all cache entries. Triggers keep the sum, so that processes of an older package keep it too.
CREATE TABLE kedge.cache_size (
    id    BIGINT PRIMARY KEY,
    bytes BIGINT NOT NULL
);

LOCK TABLE kedge.cache IN SHARE ROW EXCLUSIVE MODE;

INSERT INTO kedge.cache_size (id, bytes) SELECT 1, coalesce(sum(bytes), 0) FROM kedge.cache;

CREATE FUNCTION kedge.add_cache_size() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kedge.cache_size s SET bytes = s.bytes + (SELECT sum(a.bytes) FROM added a)
    WHERE EXISTS (SELECT FROM added);
    RETURN NULL;
END $$;

CREATE FUNCTION kedge.subtract_cache_size() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kedge.cache_size s SET bytes = s.bytes - (SELECT sum(r.bytes) FROM removed r)
    WHERE EXISTS (SELECT FROM removed);
    RETURN NULL;
END $$;

CREATE FUNCTION kedge.change_cache_size() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kedge.cache_size s
    SET bytes = s.bytes + (SELECT sum(a.bytes) FROM added a) - (SELECT sum(r.bytes) FROM removed r)
    WHERE EXISTS (SELECT FROM added);
    RETURN NULL;
END $$;

CREATE TRIGGER cache_size_insert AFTER INSERT ON kedge.cache REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION kedge.add_cache_size();

CREATE TRIGGER cache_size_update AFTER UPDATE ON kedge.cache REFERENCING OLD TABLE AS removed NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION kedge.change_cache_size();

CREATE TRIGGER cache_size_delete AFTER DELETE ON kedge.cache REFERENCING OLD TABLE AS removed
FOR EACH STATEMENT EXECUTE FUNCTION kedge.subtract_cache_size();
