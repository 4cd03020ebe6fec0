-- What has changed since OLD, for copy-job.
-- streams.heard.fields.volume_2: is new and required; its column allows null, since rows and objects from before have none
-- streams.heard.fields.order: is removed: the column stays, null in what is loaded from now on; its values are collected in extra. A field of that name may only come back with the same type, BIGINT. If it was renamed, the new column begins empty
DROP VIEW IF EXISTS "logweir"."seen_conflicts";
DROP VIEW IF EXISTS "logweir"."seen";
-- If a column is there already, a field of that name was removed before: go on only if its type is the same. If it is
-- another, declare a field of another name.
ALTER TABLE "logweir"."seen_raw" ADD COLUMN "referrer" VARCHAR(256) ENCODE ZSTD;
ALTER TABLE "logweir"."seen_raw" ALTER COLUMN "page" TYPE VARCHAR(256);
-- Each event once: of copies that were received within 604800 s (warehouse.dedupe_window) of one another, the first.
CREATE OR REPLACE VIEW "logweir"."seen" AS
SELECT "event_id", "event_time", "received_at", "batch_id", "client_time", "seen_at", "page", "referrer", "details", "extra"
FROM (
    SELECT "event_id", "event_time", "received_at", "batch_id", "client_time", "seen_at", "page", "referrer", "details", "extra",
        LAG("received_at") OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "copied at"
    FROM "logweir"."seen_raw"
) AS copies
WHERE "copied at" IS NULL OR "received_at" > DATEADD(second, 604800, "copied at");
-- What that view leaves out though it is no copy: it bears the id of another event, with other content than the
-- last that is shown before it.
CREATE OR REPLACE VIEW "logweir"."seen_conflicts" AS
SELECT later."event_id", later."event_time", later."received_at", later."batch_id", later."client_time", later."seen_at", later."page", later."referrer", later."details", later."extra"
FROM "logweir"."seen_raw" AS later
JOIN (
    SELECT "event_id", "event_time", "received_at", "batch_id", "client_time", "seen_at", "page", "referrer", "details", "extra",
        LEAD("received_at") OVER (PARTITION BY "event_id" ORDER BY "received_at") AS "shown next at"
    FROM "logweir"."seen"
) AS first ON first."event_id" = later."event_id"
    AND later."received_at" >= first."received_at"
    AND (first."shown next at" IS NULL OR later."received_at" < first."shown next at")
WHERE NOT (
    CASE WHEN later."seen_at" = first."seen_at" THEN TRUE ELSE later."seen_at" IS NULL AND first."seen_at" IS NULL END
    AND CASE WHEN later."page" = first."page" AND OCTET_LENGTH(later."page") = OCTET_LENGTH(first."page") THEN TRUE ELSE later."page" IS NULL AND first."page" IS NULL END
    AND CASE WHEN later."referrer" = first."referrer" AND OCTET_LENGTH(later."referrer") = OCTET_LENGTH(first."referrer") THEN TRUE ELSE later."referrer" IS NULL AND first."referrer" IS NULL END
    AND CASE WHEN JSON_SERIALIZE(later."details") = JSON_SERIALIZE(first."details") THEN TRUE ELSE later."details" IS NULL AND first."details" IS NULL END
    AND CASE WHEN JSON_SERIALIZE(later."extra") = JSON_SERIALIZE(first."extra") THEN TRUE ELSE later."extra" IS NULL AND first."extra" IS NULL END
);
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "logweir"."seen_raw" TO ROLE "logweir_writer";
GRANT SELECT ON TABLE "logweir"."seen", "logweir"."seen_conflicts" TO ROLE "logweir_writer";
GRANT SELECT ON TABLE "logweir"."seen", "logweir"."seen_conflicts" TO ROLE "logweir_loader";
GRANT SELECT ON TABLE "logweir"."seen", "logweir"."seen_conflicts" TO ROLE "logweir_analyst";
