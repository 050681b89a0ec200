-- The fence: a session says its writer version in the setting `kedge.writer`; one that says none is of version 1.
CREATE FUNCTION kedge.check_writer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    _least BIGINT := (SELECT convert_from(m.value, 'UTF8') FROM kedge.meta m WHERE m.name = 'min_writer');
BEGIN
    IF coalesce(nullif(current_setting('kedge.writer', TRUE), ''), '1')::bigint < _least THEN
        RAISE EXCEPTION '%', _least USING ERRCODE = 'KM002';
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER fence BEFORE INSERT OR UPDATE ON kedge.writes FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT ON kedge.control_log FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT ON kedge.turns FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT ON kedge.edges FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT ON kedge.observations FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT ON kedge.cache FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT OR UPDATE ON kedge.collections FOR EACH STATEMENT
EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT ON kedge.members FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();

CREATE TRIGGER fence BEFORE INSERT ON kedge.replayed FOR EACH STATEMENT EXECUTE FUNCTION kedge.check_writer();
