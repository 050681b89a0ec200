"""Kubernetes manifests, Helm charts and CloudFormation templates: declared stores and their volumes."""

from collections.abc import Iterable, Iterator

from kedge.discovery.scan.infra.images import (
    Mount,
    declared,
    literal_images,
    name_and_tag,
    store_image,
    tag_evidence,
    volume_evidence,
)
from kedge.discovery.scan.infra.models import model_pins, words_of
from kedge.discovery.scan.infra.values import Value
from kedge.discovery.sites import Evidence, Selector, Site

_WORKLOADS = {"StatefulSet", "Deployment", "DaemonSet", "ReplicaSet", "ReplicationController", "Pod"}
_OPERATORS = {  # (start of the group of the API, kind) → store
    ("postgresql.cnpg.io", "Cluster"): "postgres",
    ("postgres-operator.crunchydata.com", "PostgresCluster"): "postgres",
    ("acid.zalan.do", "postgresql"): "postgres",
    ("kubedb.com", "Postgres"): "postgres",
    ("mongodbcommunity.mongodb.com", "MongoDBCommunity"): "mongodb",
    ("psmdb.percona.com", "PerconaServerMongoDB"): "mongodb",
    ("elasticsearch.k8s.elastic.co", "Elasticsearch"): "elasticsearch",
    ("opensearch.opster.io", "OpenSearchCluster"): "opensearch",
    ("redis.redis.opstreelabs.in", "Redis"): "redis",
    ("databases.spotahome.com", "RedisFailover"): "redis",
    ("rabbitmq.com", "RabbitmqCluster"): "rabbitmq",
    ("kafka.strimzi.io", "Kafka"): "kafka",
    ("milvus.io", "Milvus"): "milvus",
    ("minio.min.io", "Tenant"): "minio",
}
_CHARTS = {  # name of a chart that is a dependency → store
    "postgresql": "postgres", "postgresql-ha": "postgres", "cloudnative-pg": "postgres", "timescaledb": "postgres",
    "mysql": "mysql", "mariadb": "mysql", "mongodb": "mongodb", "redis": "redis", "redis-cluster": "redis",
    "valkey": "redis", "qdrant": "qdrant", "weaviate": "weaviate", "milvus": "milvus", "chromadb": "chroma",
    "chroma": "chroma", "etcd": "etcd", "minio": "minio", "elasticsearch": "elasticsearch",
    "opensearch": "opensearch", "neo4j": "neo4j", "rabbitmq": "rabbitmq", "kafka": "kafka", "clickhouse": "clickhouse",
    "cassandra": "cassandra", "memcached": "memcached", "mlflow": "mlflow", "vespa": "vespa", "nats": "nats",
    "meilisearch": "meilisearch", "typesense": "typesense",
}  # fmt: skip


def is_manifest(document: Value) -> bool:
    """Whether a document is a Kubernetes object."""
    return bool(document.string("apiVersion") and document.string("kind"))


def manifest_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield the stores that a Kubernetes object declares, those of a `List` too."""
    kind = document.entry("kind")
    if document.string("kind").endswith("List"):
        for item in document.at("items").items:
            yield from manifest_sites(path, item)
        return
    group = document.string("apiVersion").partition("/")[0]
    if kind is not None and (store := _OPERATORS.get((group, kind.value.text or ""))):
        note = Evidence(f"an operator runs this {kind.value.text}", path, kind.line)
        yield Site(path, kind.line, "decl", store, "remote", "", evidence=(note,), target=_name(document))
    elif kind is not None and kind.value.text in _WORKLOADS:
        yield from _workload(path, document)


def _workload(path: str, document: Value) -> Iterator[Site]:
    spec = document.at("spec")
    pod = spec if document.string("kind") == "Pod" else spec.at("template", "spec")
    claims = {claim.string("metadata", "name") for claim in spec.at("volumeClaimTemplates").items}
    lasting = claims | {
        volume.string("name")
        for volume in pod.at("volumes").items
        if any(volume.entry(key) for key in ("persistentVolumeClaim", "hostPath", "csi", "nfs", "ephemeral"))
    }
    passing = {volume.string("name") for volume in pod.at("volumes").items if volume.entry("emptyDir")}
    for container in pod.at("containers").items:
        image = container.at("image")
        known = store_image(image.text or "")
        if known is None or image.text is None:
            words = words_of((container.at("command"), container.at("args")))
            yield from model_pins(path, image.text or "", words)
            continue
        mounts = [
            Mount(mount.string("mountPath").rstrip("/"), mount.line, lasting=mount.string("name") in lasting)
            for mount in container.at("volumeMounts").items
            if mount.string("name") in lasting | passing
        ]
        settings = [*container.at("command").strings(), *container.at("args").strings()]
        settings += [variable.string("value") for variable in container.at("env").items]
        what = document.string("kind")
        evidence = (
            Evidence(f"{what} {_name(document)} runs the image {image.text}", path, image.line),
            *volume_evidence(known, name_and_tag(image.text)[1], mounts, settings, path, image.line),
            *tag_evidence(image.text, path, image.line),
        )
        yield declared(path, image.line, known, evidence, target=_name(document))


def _name(document: Value) -> str:
    return document.string("metadata", "name")


# ---------------------------------------------------------------- Helm


def chart_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield the stores that a chart depends on: `Chart.yaml`, or the older `requirements.yaml`."""
    for dependency in document.at("dependencies").items:
        name = dependency.at("name")
        store = _CHARTS.get(name.text or "")
        if store is None:
            continue
        condition = dependency.string("condition").partition(",")[0]
        selector = Selector("config", condition, "true", alternatives=(store,)) if condition else None
        evidence = Evidence(f"the chart depends on the chart {name.text}", path, name.line)
        yield Site(
            path, name.line, "decl", store, "remote", "", selector=selector, evidence=(evidence,),
            target=dependency.string("alias") or name.text or "",
        )  # fmt: skip


def values_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield the images of a chart's values: `repository` with `tag`, or `image` as one text."""
    waiting, seen = [document], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        waiting += [*value.items, *(entry.value for entry in value.entries)]
        for key in ("repository", "image"):
            name = value.at(key)
            known = store_image(name.text) if name.text else None
            if known is None or name.text is None:
                continue
            tag = value.string("tag")
            text = f"{name.text}:{tag}" if tag and ":" not in name.text else name.text
            evidence = (Evidence(f"the chart runs the image {text}", path, name.line),)
            yield declared(path, name.line, known, evidence, target=text)


def template_sites(path: str, text: str) -> Iterator[Site]:
    """Yield the images that a chart's template names literally. A template is text, not YAML."""
    yield from literal_images(path, text, confidence="medium")


# ---------------------------------------------------------------- CloudFormation

_RESOURCES = {  # CloudFormation, SAM and `resources` of serverless.yml
    "AWS::DynamoDB::Table": "dynamodb", "AWS::DynamoDB::GlobalTable": "dynamodb",
    "AWS::Serverless::SimpleTable": "dynamodb", "AWS::S3::Bucket": "s3", "AWS::S3Vectors::Index": "s3-vectors",
    "AWS::RDS::DBInstance": "rds", "AWS::RDS::DBCluster": "rds", "AWS::DocDB::DBCluster": "documentdb",
    "AWS::Neptune::DBCluster": "neptune", "AWS::ElastiCache::CacheCluster": "redis",
    "AWS::ElastiCache::ReplicationGroup": "redis", "AWS::ElastiCache::ServerlessCache": "redis",
    "AWS::MemoryDB::Cluster": "redis", "AWS::OpenSearchService::Domain": "opensearch",
    "AWS::OpenSearchServerless::Collection": "opensearch", "AWS::SQS::Queue": "sqs", "AWS::MSK::Cluster": "kafka",
    "AWS::Bedrock::KnowledgeBase": "bedrock-kb", "AWS::EFS::FileSystem": "efs",
}  # fmt: skip


def cloudformation_sites(path: str, document: Value) -> Iterator[Site]:
    """Yield the stores among the resources of a template."""
    places: Iterable[Value] = (document.at("Resources"), document.at("resources", "Resources"))
    for resources in places:
        for resource in resources.entries:
            kind = resource.value.at("Type")
            store = _RESOURCES.get(kind.text or "")
            if store is not None:
                store = _engine(store, resource.value.string("Properties", "Engine"))
                evidence = _resource_evidence(path, kind, resource.value.at("Properties"))
                yield Site(path, kind.line, "decl", store, "remote", "", evidence=evidence, target=resource.key)


def _engine(store: str, engine: str) -> str:
    if store != "rds":
        return store
    return next((name for word, name in _ENGINES.items() if word in engine), "sql")


_ENGINES = {"postgres": "postgres", "mysql": "mysql", "maria": "mysql", "sqlserver": "mssql"}


def _resource_evidence(path: str, kind: Value, properties: Value) -> tuple[Evidence, ...]:
    notes = [Evidence(f"the template declares {kind.text}", path, kind.line)]
    if kind.text == "AWS::S3::Bucket":
        on = properties.string("VersioningConfiguration", "Status") == "Enabled"
        word = "is on" if on else "is not set: an overwritten object cannot be taken back"
        notes.append(Evidence(f"versioning {word}", path, kind.line))
    if "DynamoDB" in (kind.text or ""):
        on = properties.string("PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled").lower() == "true"
        word = "is on" if on else "is not set: it is off by default"
        notes.append(Evidence(f"point-in-time recovery {word}", path, kind.line))
    return tuple(notes)
