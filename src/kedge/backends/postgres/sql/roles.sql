-- Role split for PostgreSQL: agents tighten levels, and never loosen them; the database itself enforces it.
--
-- Run it as the owner of the schema kedge, and again after each `kedge upgrade`:
--
--     kedge roles | psql --set ON_ERROR_STOP=1 "postgresql://owner@host/database"
--
-- Then let agents' processes log in as members of kedge_agents, and persons and pipelines that promote, roll back or
-- release as members of kedge_operators:
--
--     GRANT kedge_agents TO support_service;
--     GRANT kedge_operators TO ana, ben;
--
-- A user who is in neither can do what the agents can, as far as its grants go: only operators and superusers loosen.
-- Agents must not own the schema, and must not be operators.

BEGIN;

DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['kedge_agents', 'kedge_operators'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END;
$$;

GRANT USAGE ON SCHEMA kedge TO kedge_agents, kedge_operators;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA kedge TO kedge_agents, kedge_operators;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA kedge TO kedge_agents, kedge_operators;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA kedge TO kedge_agents, kedge_operators;
REVOKE INSERT, DELETE, TRUNCATE ON kedge.control FROM kedge_agents;
REVOKE UPDATE, DELETE, TRUNCATE ON kedge.control_log FROM kedge_agents;
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON kedge.schema_version FROM kedge_agents;

-- What a change of the control record would loosen, or NULL. Both are JSON: ["record", {…}].
CREATE OR REPLACE FUNCTION kedge.loosened(before bytea, after bytea) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ladder CONSTANT text[] := ARRAY['full', 'supervised', 'frozen', 'cautious', 'fallback', 'off'];
    nul CONSTANT text := '\u0000';  -- a reason may hold it, and jsonb may not
    told jsonb := replace(convert_from(before, 'UTF8'), nul, '')::jsonb;
    tells jsonb := replace(convert_from(after, 'UTF8'), nul, '')::jsonb;
    old_record jsonb := told -> 1;
    new_record jsonb := tells -> 1;
    found text;
BEGIN
    IF told ->> 0 IS DISTINCT FROM 'record' OR tells ->> 0 IS DISTINCT FROM 'record' THEN
        RETURN 'a control record of an older version: an operator runs `kedge upgrade` first';
    END IF;
    IF new_record -> 'presets' IS DISTINCT FROM old_record -> 'presets' THEN
        RETURN 'the rights of the levels';
    END IF;
    IF new_record -> 'two_persons' IS DISTINCT FROM old_record -> 'two_persons' THEN
        RETURN 'the setting that two persons loosen';
    END IF;
    -- Each entry stays, or one of its scope and source replaces it that is as strict and lasts as long; one that has
    -- expired may go.
    SELECT format('the entry %s (%s)', e ->> 'id', e ->> 'level') INTO found
    FROM jsonb_array_elements(coalesce(old_record -> 'entries', '[]')) e
    WHERE coalesce((e ->> 'expires')::float8, 'infinity') > extract(epoch FROM clock_timestamp())
      AND NOT EXISTS (
        SELECT FROM jsonb_array_elements(coalesce(new_record -> 'entries', '[]')) n
        WHERE n -> 'scope' = e -> 'scope'
          AND n -> 'source' IS NOT DISTINCT FROM e -> 'source'
          AND n -> 'operation' IS NOT DISTINCT FROM e -> 'operation'
          AND array_position(ladder, n ->> 'level') >= array_position(ladder, e ->> 'level')
          AND coalesce((n ->> 'expires')::float8, 'infinity') >= coalesce((e ->> 'expires')::float8, 'infinity')
      ) LIMIT 1;
    IF found IS NOT NULL THEN
        RETURN found;
    END IF;
    -- Entries as older versions store them: a level by feature, and the rollbacks that hold a feature.
    SELECT format('the level %s of %s', l.value, l.key) INTO found
    FROM jsonb_each_text(coalesce(old_record -> 'levels', '{}')) l
    WHERE coalesce(array_position(ladder, new_record -> 'levels' ->> l.key), 1) < array_position(ladder, l.value) LIMIT 1;
    IF found IS NOT NULL THEN
        RETURN found;
    END IF;
    SELECT format('the hold of %s', h.key) INTO found
    FROM jsonb_each(coalesce(old_record -> 'held', '{}')) h
    WHERE NOT coalesce(new_record -> 'held' -> h.key, '[]') @> h.value LIMIT 1;
    RETURN found;
END;
$$;

CREATE OR REPLACE FUNCTION kedge.refuse_loosening() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    what text;
BEGIN
    IF pg_has_role(current_user, 'kedge_operators', 'MEMBER') THEN
        RETURN NEW;
    END IF;
    what := kedge.loosened(OLD.record, NEW.record);
    IF what IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'KM003', MESSAGE = format('%s cannot loosen %s', current_user, what);
    END IF;
    IF NEW.epoch <> OLD.epoch + 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'KM003', MESSAGE = format('%s cannot set the epoch', current_user);
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER refuse_loosening BEFORE UPDATE ON kedge.control
FOR EACH ROW EXECUTE FUNCTION kedge.refuse_loosening();

-- An agent asks; it approves nothing.
CREATE OR REPLACE FUNCTION kedge.refuse_approval() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NEW.status = 'approved' AND NOT pg_has_role(current_user, 'kedge_operators', 'MEMBER') THEN
        RAISE EXCEPTION USING ERRCODE = 'KM003', MESSAGE = format('%s cannot approve request %s', current_user, NEW.id);
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER refuse_approval BEFORE INSERT OR UPDATE ON kedge.level_requests
FOR EACH ROW EXECUTE FUNCTION kedge.refuse_approval();

COMMIT;
