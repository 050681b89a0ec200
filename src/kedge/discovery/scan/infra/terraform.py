"""Terraform: managed stores among the resources, with whether versions or points in time are kept."""

import re
from collections.abc import Iterator

from kedge.discovery.sites import Evidence, Site

_RESOURCE = re.compile(r'^[ \t]*resource\s+"([\w-]+)"\s+"([\w-]+)"\s*\{', re.MULTILINE)
_MODULE = re.compile(r'^[ \t]*module\s+"([\w-]+)"\s*\{', re.MULTILINE)
_SETTING = re.compile(r'^[ \t]*([\w-]+)\s*=\s*"?([^"\n#]*?)"?\s*(?:#.*|//.*)?$', re.MULTILINE)
_STORES = {
    "aws_db_instance": "rds", "aws_rds_cluster": "rds", "aws_dynamodb_table": "dynamodb", "aws_s3_bucket": "s3",
    "aws_docdb_cluster": "documentdb", "aws_neptune_cluster": "neptune", "aws_elasticache_cluster": "redis",
    "aws_elasticache_replication_group": "redis", "aws_elasticache_serverless_cache": "redis",
    "aws_memorydb_cluster": "redis", "aws_opensearch_domain": "opensearch",
    "aws_elasticsearch_domain": "elasticsearch", "aws_opensearchserverless_collection": "opensearch",
    "aws_sqs_queue": "sqs", "aws_msk_cluster": "kafka", "aws_mq_broker": "rabbitmq", "aws_efs_file_system": "efs",
    "aws_bedrockagent_knowledge_base": "bedrock-kb", "aws_s3vectors_index": "s3-vectors",
    "google_sql_database_instance": "rds", "google_alloydb_cluster": "postgres", "google_spanner_instance": "spanner",
    "google_firestore_database": "firestore", "google_bigtable_instance": "bigtable",
    "google_bigquery_dataset": "bigquery", "google_storage_bucket": "gcs", "google_redis_instance": "redis",
    "google_redis_cluster": "redis", "google_pubsub_topic": "pubsub", "google_vertex_ai_index": "vertex-vector-search",
    "azurerm_postgresql_server": "postgres", "azurerm_postgresql_flexible_server": "postgres",
    "azurerm_mysql_flexible_server": "mysql", "azurerm_mssql_database": "mssql", "azurerm_mssql_server": "mssql",
    "azurerm_cosmosdb_account": "cosmosdb", "azurerm_cosmosdb_postgresql_cluster": "postgres",
    "azurerm_storage_account": "azure-blob", "azurerm_redis_cache": "redis", "azurerm_managed_redis": "redis",
    "azurerm_search_service": "azure-ai-search", "azurerm_servicebus_queue": "servicebus",
    "pinecone_index": "pinecone", "qdrant-cloud_accounts_cluster": "qdrant", "zillizcloud_cluster": "zilliz",
    "mongodbatlas_cluster": "mongodb", "mongodbatlas_advanced_cluster": "mongodb",
    "mongodbatlas_serverless_instance": "mongodb", "mongodbatlas_flex_cluster": "mongodb",
    "neon_project": "neon", "supabase_project": "supabase", "rediscloud_subscription": "redis",
    "upstash_redis_database": "redis", "upstash_vector_index": "upstash-vector", "ec_deployment": "elasticsearch",
    "confluent_kafka_cluster": "kafka", "digitalocean_database_cluster": "rds", "weaviate_cluster": "weaviate",
    "cloudflare_workers_kv_namespace": "cloudflare-kv", "cloudflare_d1_database": "cloudflare-d1",
    "cloudflare_r2_bucket": "cloudflare-r2", "cloudflare_vectorize_index": "cloudflare-vectorize",
}  # fmt: skip
_MODULES = {
    "terraform-aws-modules/rds": "rds", "terraform-aws-modules/rds-aurora": "rds",
    "terraform-aws-modules/dynamodb-table": "dynamodb", "terraform-aws-modules/s3-bucket": "s3",
    "terraform-aws-modules/elasticache": "redis", "terraform-aws-modules/opensearch": "opensearch",
    "terraform-aws-modules/sqs": "sqs",
}  # fmt: skip
_ENGINES = {"postgres": "postgres", "mysql": "mysql", "maria": "mysql", "sqlserver": "mssql", "mongo": "mongodb",
            "redis": "redis", "valkey": "redis", "pg": "postgres"}  # fmt: skip


def terraform_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the stores that a Terraform file declares. The text is searched, not evaluated."""
    text = _without_comments(text)
    for found in _RESOURCE.finditer(text):
        store = _STORES.get(found[1])
        if store is not None:
            yield _site(path, text, found, store, f"{found[1]}.{found[2]}")
    for found in _MODULE.finditer(text):
        source = dict(_SETTING.findall(_block(text, found.end()))).get("source", "")
        store = next((store for name, store in _MODULES.items() if source.startswith(f"{name}/")), None)
        if store is not None:
            yield _site(path, text, found, store, f"module.{found[1]}")


def _site(path: str, text: str, found: re.Match[str], store: str, address: str) -> Site:
    block = _block(text, found.end())
    settings = dict(_SETTING.findall(block))
    line = text.count("\n", 0, found.end()) + 1
    if store == "rds":
        engine = settings.get("engine") or settings.get("database_version", "")
        store = next((name for word, name in _ENGINES.items() if word in engine.lower()), "sql")
    evidence = [Evidence(f"declares {address}", path, line)]
    evidence += [Evidence(note, path, line) for note in _notes(text, address, block, settings)]
    return Site(path, line, "decl", store, "remote", "", evidence=tuple(evidence), target=address)


def _notes(text: str, address: str, block: str, settings: dict[str, str]) -> Iterator[str]:
    kind = address.partition(".")[0]
    if kind in {"aws_s3_bucket", "google_storage_bucket"}:
        apart = re.search(rf"aws_s3_bucket_versioning\"[^{{]*\{{[^{{]*{re.escape(address)}\b", text)
        inside = re.search(r"versioning\s*\{[^}]*enabled\s*=\s*true", block)
        if apart or inside:
            yield "versioning is declared"
        else:
            yield "versioning is not declared in this file: an overwritten object cannot be taken back without it"
    elif kind == "aws_dynamodb_table":
        on = re.search(r"point_in_time_recovery\s*\{[^}]*enabled\s*=\s*true", block)
        yield "point-in-time recovery is on" if on else "point-in-time recovery is not set: it is off by default"
    elif kind in {"aws_db_instance", "aws_rds_cluster"}:
        days = settings.get("backup_retention_period", "")
        if days == "0":
            yield "backup_retention_period is 0: no backups, no point-in-time recovery"
        elif days.isdigit():
            yield f"backups are kept for {days} days"


def _block(text: str, start: int) -> str:
    """Return what is between the brace before `start` and the one that closes it."""
    depth = 1
    for found in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if found[0] == "{" else -1
        if depth == 0:
            return text[start : found.start()]
    return text[start:]


def _without_comments(text: str) -> str:
    """Blank out comments; lines keep their numbers."""
    text = re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), text, flags=re.DOTALL)
    return re.sub(r"^[ \t]*(?:#|//).*$", "", text, flags=re.MULTILINE)
