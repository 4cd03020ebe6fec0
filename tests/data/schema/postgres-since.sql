-- What has changed since OLD, for postgres.
-- streams.heard.fields.volume_2: is new and required; its column allows null, since rows and objects from before have none
-- streams.heard.fields.order: is removed: the column stays, null in what is loaded from now on; its values are collected in extra. A field of that name may only come back with the same type, bigint. If it was renamed, the new column begins empty
DO $check$ BEGIN
    IF EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = CAST('"logweir"."heard"' AS regclass) AND attname = 'volume_2' AND NOT attisdropped
        AND (atttypid <> CAST('bigint' AS regtype))) THEN
        RAISE EXCEPTION USING MESSAGE = 'the column volume_2 of heard is there already, of another type than bigint: a field of that name was removed before; declare a field of another name, or rename that column in heard, heard_staging and heard_conflicts';
    END IF;
END $check$;
ALTER TABLE "logweir"."heard" ADD COLUMN IF NOT EXISTS "volume_2" bigint;
ALTER TABLE "logweir"."heard_staging" ADD COLUMN IF NOT EXISTS "volume_2" bigint;
ALTER TABLE "logweir"."heard_conflicts" ADD COLUMN IF NOT EXISTS "volume_2" bigint;

-- fresh: its events, each once.
CREATE TABLE IF NOT EXISTS "logweir"."fresh" (
    "event_id" text NOT NULL,
    "event_time" timestamptz NOT NULL,
    "received_at" timestamptz NOT NULL,
    "batch_id" text,
    "client_time" timestamptz,
    "what" boolean,
    "extra" jsonb
);
-- For the loader, which asks whether an event is there. Not unique: equal ids with other content are set aside, and
-- beyond the dedupe window an id may come again.
CREATE INDEX IF NOT EXISTS "fresh.event_id" ON "logweir"."fresh" ("event_id");
-- Rows come in the order of their times, nearly: a BRIN index tells the blocks of a time range at next to no size.
CREATE INDEX IF NOT EXISTS "fresh.received" ON "logweir"."fresh" USING brin ("received_at");
-- For analysts, who ask by the time of the event.
CREATE INDEX IF NOT EXISTS "fresh.time" ON "logweir"."fresh" USING brin ("event_time");
-- What is copied from the objects, before it is known what is new; empty between two loads.
CREATE TABLE IF NOT EXISTS "logweir"."fresh_staging" (
    "event_id" text,
    "event_time" timestamptz,
    "received_at" timestamptz,
    "batch_id" text,
    "client_time" timestamptz,
    "what" boolean,
    "extra" jsonb
);
-- What bears the id of another event: set aside, for somebody to look at.
CREATE TABLE IF NOT EXISTS "logweir"."fresh_conflicts" (
    "event_id" text,
    "event_time" timestamptz,
    "received_at" timestamptz,
    "batch_id" text,
    "client_time" timestamptz,
    "what" boolean,
    "extra" jsonb,
    "load_id" text NOT NULL,
    "found_at" timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."fresh" TO "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."fresh_staging" TO "logweir_writer";
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."fresh_conflicts" TO "logweir_writer";
GRANT SELECT, INSERT ON TABLE "logweir"."fresh" TO "logweir_loader";
GRANT SELECT, INSERT, DELETE ON TABLE "logweir"."fresh_staging" TO "logweir_loader";
GRANT SELECT, INSERT ON TABLE "logweir"."fresh_conflicts" TO "logweir_loader";
GRANT SELECT ON TABLE "logweir"."fresh" TO "logweir_analyst";
GRANT SELECT ON TABLE "logweir"."fresh_conflicts" TO "logweir_analyst";
