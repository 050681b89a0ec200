"""Infrastructure declares stores: which, at which line, and whether their data outlive the container."""

from textwrap import dedent

import pytest

from kedge.discovery.scan.infra import Infrastructure, images, infrastructure, values
from kedge.discovery.scan.infra.env import environment
from kedge.discovery.scan.infra.images import store_image
from kedge.discovery.scan.infra.values import Unreadable, json_value, yaml_documents
from kedge.discovery.scan.walking import File
from kedge.errors import InvalidValue


def _read(**files: str) -> Infrastructure:
    return infrastructure(File(path, dedent(text).encode()) for path, text in files.items())


def _found(**files: str) -> list[tuple[str, int, str, str]]:
    return [(site.path, site.line, site.site_class, site.store) for site in _read(**files).sites]


def _notes(found: Infrastructure, store: str) -> str:
    (site,) = [site for site in found.sites if site.store == store]
    return "; ".join(evidence.text for evidence in site.evidence)


COMPOSE = """\
    x-shared: &shared
      restart: always
    services:
      app:
        build: .
        volumes: ["memory:/app/memory", "modules:/app/node_modules", "./src:/app/src"]
      qdrant:
        <<: *shared
        image: qdrant/qdrant:latest
        volumes: [ "vectors:%s" ]
      worker: {build: ., volumes: ["memory:/work"]}
      cache: {image: "docker.io/library/redis:7", profiles: [full]}
      proxy:
        image: nginx
    volumes: {vectors: , memory: , modules: }
"""


def test_compose_names_stores_at_the_line_of_the_image() -> None:
    found = _read(**{"deploy/compose.prod.yaml": COMPOSE % "/qdrant/storage"})
    assert [(site.line, site.store, site.kind, site.function) for site in found.sites] == [
        (6, "file:volume", "embedded", ""), (9, "qdrant", "remote", ""), (12, "redis", "remote", ""),
    ]  # fmt: skip
    assert "kept in the volume at /qdrant/storage" in _notes(found, "qdrant")
    assert "tag of qdrant/qdrant is latest" in _notes(found, "qdrant")
    assert "only with the profile full" in _notes(found, "redis")
    assert "tag" not in _notes(found, "redis")


@pytest.mark.parametrize(
    ("mounted", "lost"),
    [("/qdrant/storage", False), ("/qdrant", False), ("/qdrant/storage/", False), ("/qdrant_data", True),
     ("/qdrant/storage/snapshots", True), ("/qdrant/storage/config.yaml", True)],
)  # fmt: skip
def test_a_volume_at_the_wrong_path_keeps_nothing(mounted: str, lost: bool) -> None:
    assert ("data are lost" in _notes(_read(**{"compose.yml": COMPOSE % mounted}), "qdrant")) is lost


@pytest.mark.parametrize(
    ("image", "rest", "lost"),
    [
        ("minio/minio", "{command: server /files, volumes: ['v:/files']}", False),
        ("minio/minio", "{command: server /files, volumes: ['v:/other']}", True),
        ("postgres:16", "{environment: {PGDATA: /pg}, volumes: ['v:/pg']}", False),
        ("postgres:16", "{environment: ['PGDATA=/pg'], volumes: [{type: volume, source: v, target: /pg}]}", False),
        ("postgres:16", "{volumes: ['v:/var/lib/postgresql']}", True),
        ("postgres:18", "{volumes: ['v:/var/lib/postgresql']}", False),
        ("pgvector/pgvector:pg17", "{volumes: ['v:/var/lib/postgresql']}", True),
        ("mongo", "{volumes: ['${FOLDER:-.}/db:/data/db:rw']}", False),
        ("mongo", "{volumes: ['/data/db']}", True),
        ("mongo", "{tmpfs: /data/db}", True),
        ("redis", "{volumes: [{type: tmpfs, target: /data}]}", True),
        ("redis", "{command: redis-server /etc/r.conf, volumes: ['./r.conf:/etc/r.conf']}", True),
        ("quay.io/coreos/etcd:v3", "{}", True),
    ],
)
def test_where_the_data_are_is_read_from_commands_and_variables(image: str, rest: str, lost: bool) -> None:
    text = f"services: {{one: {{image: '{image}', <<: {rest}}}}}"
    (site,) = _read(**{"compose.yml": text}).sites
    assert any("data are lost" in evidence.text for evidence in site.evidence) is lost


def test_a_volume_may_be_in_an_overlay_or_in_what_a_service_extends() -> None:
    base = "services: {db: {image: 'mongo:8'}}"
    volume = "services: {db: {volumes: ['v:/data/db']}}"
    assert "data are lost" in _notes(_read(**{"compose.yml": base}), "mongodb")
    overlaid = _read(**{"compose.yml": base, "compose.prod.yml": volume})
    assert "kept in the volume" in _notes(overlaid, "mongodb")
    extending = "services: {db: {image: 'mongo:8', extends: {file: common.yml, service: kept}}}"
    common = "services: {kept: {build: ., volumes: ['v:/data/db']}}"
    assert "kept in the volume" in _notes(_read(**{"compose.yml": extending, "common.yml": common}), "mongodb")


def test_a_service_that_builds_on_the_image_of_a_store_is_that_store() -> None:
    found = _read(**{
        "compose.yml": "services:\n  db:\n    build: ./db\n    volumes: ['v:/var/lib/mysql']\nvolumes: {v: }",
        "db/Dockerfile": "FROM golang AS tools\nFROM mysql:8 as base\nFROM base\nCOPY --from=tools /a /a",
    })  # fmt: skip
    assert [(site.path, site.line, site.store) for site in found.sites] == [
        ("compose.yml", 3, "mysql"), ("db/Dockerfile", 2, "mysql"),
    ]  # fmt: skip


def test_the_stores_of_milvus_belong_together() -> None:
    found = _read(**{"compose.yml": """
        services:
          e: {image: "quay.io/coreos/etcd"}
          m: {image: "minio/minio"}
          s: {image: "milvusdb/milvus"}
        """})  # fmt: skip
    assert "of one state with milvus and minio" in _notes(found, "etcd")
    alone = _read(**{"compose.yml": "services: {m: {image: 'minio/minio'}}"})
    assert "of one state" not in _notes(alone, "minio")


def test_variables_of_a_compose_file_are_those_beside_it() -> None:
    compose = "services: {a: {image: '${IMAGE}:${TAG:-1}'}}"
    found = _read(**{"a/compose.yml": compose, "a/.env.example": "IMAGE=mongo\nTAG=${T:-7}\n", ".env": "IMAGE=redis\n"})
    assert [site.store for site in found.sites] == ["mongodb"]
    assert "mongo:7" in _notes(found, "mongodb")
    both = _read(**{"compose.yml": compose, ".env.example": "IMAGE=mongo\nTAG=7\n", ".env": "IMAGE=redis\n"})
    assert "redis:7" in _notes(both, "redis")
    given = infrastructure([File("compose.yml", compose.encode())], {"IMAGE": "qdrant/qdrant"})
    assert [site.store for site in given.sites] == ["qdrant"]
    assert _found(**{"compose.yml": compose}) == []


def test_pipelines_and_other_yaml_declare_nothing() -> None:
    service = "services: {db: {image: 'postgres:16'}}"
    assert _found(**{".github/workflows/ci.yml": service, ".gitlab-ci.yml": service}) == []
    assert _found(**{"config.yaml": "services: [a, b]\nimage: postgres"}) == []


@pytest.mark.parametrize(
    ("image", "store"),
    [
        ("postgres", "postgres"), ("postgres:16@sha256:00", "postgres"), ("ghcr.io/acme/postgres", None),
        ("docker.io/library/postgres", "postgres"), ("registry.acme.com:5000/redis:7", "redis"),
        ("mirror.acme.com/qdrant/qdrant", "qdrant"), ("acme/redis-exporter", None), ("prom/prometheus", None),
        ("localstack/localstack", "s3"),
    ],
)  # fmt: skip
def test_an_image_is_known_by_the_end_of_its_name(image: str, store: str | None) -> None:
    found = store_image(image)
    assert (found.store if found else None) == store


@pytest.mark.parametrize(
    ("image", "command", "names"),
    [
        ("ghcr.io/huggingface/text-embeddings-inference:cpu-1.5", "--model-id BAAI/bge-m3 --port 80", ["BAAI/bge-m3"]),
        ("vllm/vllm-openai:v0.6", "--model=a/b", ["a/b"]),
        ("vllm/vllm-openai:v0.6", f"--model=a/b --revision {'0' * 40}", []),
        ("vllm/vllm-openai:v0.6", "--model a/b --revision main", ["a/b"]),
        ("vllm/vllm-openai:v0.6", "--model /models/local", []),
        ("acme/other", "--model a/b", []),
    ],
)
def test_a_model_server_without_a_revision_is_a_mutable_reference(image: str, command: str, names: list[str]) -> None:
    compose = f"services:\n  m:\n    image: {image}\n    command: {command}\n"
    assert [(site.target, site.line, site.site_class) for site in _read(**{"compose.yml": compose}).sites] == [
        (name, 4, "pin") for name in names
    ]
    words = "\n".join(f"        - {word}" for word in command.split())
    pod = f"apiVersion: v1\nkind: Pod\nspec:\n  containers:\n    - image: {image}\n      args:\n{words}\n"
    assert [site.target for site in _read(**{"pod.yaml": pod}).sites] == names


def test_a_proxy_of_litellm_keeps_answers_and_keys() -> None:
    text = "litellm_settings:\n  cache: true\n  cache_params: {type: %s}\n"
    text += "general_settings:\n  database_url: os.environ/X\n"
    sites = [(site.line, site.store, site.kind) for site in _read(**{"litellm.yaml": text % "redis"}).sites]
    assert sites == [(2, "litellm-cache", "remote"), (5, "postgres", "remote")]
    assert _read(**{"litellm.yaml": text % "local"}).sites[0].kind == "volatile"
    assert _found(**{"litellm.yaml": "litellm_settings:\n  cache: false\n"}) == []


def test_kubernetes() -> None:
    text = """\
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: vectors}
    spec:
      template:
        spec:
          containers:
            - name: qdrant
              image: qdrant/qdrant:v1.12
              volumeMounts: [{name: data, mountPath: /qdrant/storage}]
            - name: sidecar
              image: busybox
      volumeClaimTemplates: [{metadata: {name: data}}]
    ---
    apiVersion: apps/v1
    kind: Deployment
    spec:
      template:
        spec:
          volumes: [{name: data, emptyDir: {}}]
          containers:
            - image: redis:7
              volumeMounts: [{name: data, mountPath: /data}]
    ---
    apiVersion: postgresql.cnpg.io/v1
    kind: Cluster
    """
    found = _read(**{"k8s/all.yaml": text})
    assert [(site.line, site.store) for site in found.sites] == [(9, "qdrant"), (22, "redis"), (26, "postgres")]
    assert "kept in the volume" in _notes(found, "qdrant")
    assert "no lasting volume" in _notes(found, "redis")


def test_helm() -> None:
    chart = (
        "name: app\ndependencies:\n  - name: postgresql\n    condition: postgresql.enabled\n  - name: ingress-nginx\n"
    )
    chart_values = "cache:\n  image:\n    repository: valkey/valkey\n    tag: 8\n"
    template = (
        "apiVersion: v1\n{{- if .Values.x }}\nkind: Pod\nspec:\n  - image: qdrant/qdrant:{{ .x }}\n  - image: mongo:8\n"
    )
    found = _read(**{
        "chart/Chart.yaml": chart, "chart/values.yaml": chart_values, "chart/templates/a.yaml": template,
        "other/values.yaml": chart_values,
    })  # fmt: skip
    assert [(site.path, site.line, site.store) for site in found.sites] == [
        ("chart/Chart.yaml", 3, "postgres"),
        ("chart/templates/a.yaml", 6, "mongodb"),
        ("chart/values.yaml", 3, "redis"),
    ]
    assert found.unparsed == ()


def test_terraform_and_cloudformation() -> None:
    terraform = """\
    /*
    resource "aws_s3_bucket" "commented" {} */
    resource "aws_s3_bucket" "kept" {
      bucket = "a"
    }
    resource "aws_s3_bucket" "loose" {}
    resource "aws_s3_bucket_versioning" "kept" {
      bucket = aws_s3_bucket.kept.id
    }
    resource "aws_db_instance" "main" {
      engine = "postgres"
      backup_retention_period = 0
    }
    resource "aws_iam_role" "x" {}
    """
    found = _read(**{"main.tf": terraform})
    assert [(site.line, site.store) for site in found.sites] == [(3, "s3"), (6, "s3"), (10, "postgres")]
    assert [site.evidence[1].text.startswith("versioning is declared") for site in found.sites[:2]] == [True, False]
    assert "no point-in-time recovery" in _notes(found, "postgres")
    cloud = "resources:\n  Resources:\n    T:\n      Type: AWS::DynamoDB::Table\n      Properties: !Sub x\n"
    assert "is off by default" in _notes(_read(**{"serverless.yml": cloud}), "dynamodb")


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("langgraph.json", '{\n// a comment\n"graphs": {\n\t"a": "x", "b": "y"},\n"store": {"index": {}}}', [
            (4, "attach", "lg-platform:threads"), (5, "decl", "lg-platform:store")]),
        ("langgraph.json", '{"dependencies": ["."]}', []),
        ("wrangler.toml", 'name = "x"\n[[kv_namespaces]]\n[[env.live.d1_databases]]\n', [
            (2, "decl", "cloudflare-kv"), (3, "decl", "cloudflare-d1")]),
        ("wrangler.jsonc", '{"r2_buckets": [{"binding": "B"}],}', [(1, "decl", "cloudflare-r2")]),
        ("fly.toml", 'app = "x"\n[mounts]\n  destination = "/data"\n', [(2, "decl", "file:volume")]),
        ("render.yaml", "databases:\n  - name: a\nservices:\n  - type: redis\n", [
            (2, "decl", "postgres"), (4, "decl", "redis")]),
        ("supabase/config.toml", "[api]\n[db]\n[db.pooler]\n", [(2, "decl", "supabase")]),
        ("p/schema.prisma", 'generator c {\n provider = "x"\n}\ndatasource db {\n  provider = "sqlite"\n}\n', [
            (4, "decl", "sqlite")]),
        ("drizzle.config.ts", 'export default {\n  dialect: "postgresql",\n}', [(2, "decl", "postgres")]),
        ("convex/schema.ts", "import x\nexport default defineSchema({})", [(2, "decl", "convex")]),
    ],
)  # fmt: skip
def test_platforms(path: str, text: str, expected: list[tuple[int, str, str]]) -> None:
    assert [found[1:] for found in _found(**{path: text})] == expected


def test_hostile_yaml_ends_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "MOST_VALUES", 3_000)
    laughs = "a0: &a0 [x, x]\n" + "\n".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))
    merges = "m0: &m0 {k: v}\n" + "\n".join(
        f"m{n}: &m{n}\n  <<: [*m{n - 1}, *m{n - 1}]\n  k{n}: v" for n in range(1, 80)
    )
    found = _read(**{
        "laughs/compose.yml": f"{laughs}\nservices: {{db: {{image: mongo, volumes: *a59}}}}",
        "loop/compose.yml": "services: &s {db: &d {image: mongo, x: *s, extends: *d}}",
        "merges/compose.yml": f"{merges}\nservices: {{db: {{image: mongo}}}}",
        "deep/compose.yml": "services: " + "[" * 1_000,
        "bad/compose.yml": "services:\n  db:\n    image: mongo:8\n   x: y\n",
        "tag/compose.yml": "services: {db: {image: !!python/object/apply:os.system ['exit 1']}}",
    })  # fmt: skip
    assert [site.path for site in found.sites] == ["bad/compose.yml", "laughs/compose.yml", "loop/compose.yml"]
    assert {each.path: each.reason for each in found.unparsed} == {
        "bad/compose.yml": "not valid YAML at line 4",
        "deep/compose.yml": "nested too deeply",
        "merges/compose.yml": "more than 3,000 values",
    }


def test_json_that_is_broken_is_refused() -> None:
    for text in ("", "{", '{"a" 1}', "]", '{"a": "b', "[" * 1_000):
        with pytest.raises(Unreadable):
            json_value(text)


def test_merged_keys_are_those_of_yaml() -> None:
    (document,) = yaml_documents("a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc: {<<: [*a, *b], x: 3}")
    assert document.at("c").pairs() == {"x": "3", "y": "1", "z": "2"}


def test_variables_of_files() -> None:
    env = "export A=1\n# B=2\nC='x y' # note\nD=a#b # note\nnot a setting\nE=\n"
    compose = "services: {a: {environment: ['F=1', G]}, b: {environment: {H: 2}}}"
    assert environment([(".env", env), ("compose.yaml", compose), ("b.env", "A=9")]) == {
        "A": "9", "C": "x y", "D": "a#b", "E": "", "F": "1", "H": "2",
    }  # fmt: skip
    settings = _read(**{".env.example": env, "compose.yaml": compose}).settings
    assert [(each.name, each.path, each.line) for each in settings[:2]] == [
        ("A", ".env.example", 1),
        ("C", ".env.example", 3),
    ]
    assert {each.name for each in settings if each.path == "compose.yaml"} == {"F", "H"}
    with pytest.raises(InvalidValue, match="no variable is set"):
        environment([("notes.txt", "nothing")])


def test_the_folders_of_images_are_absolute() -> None:
    known = images._by_name()
    assert len(known) > 50
    assert [image.store for image in known.values() for folder in image.data if not folder.startswith("/")] == []
    assert [name for name in known if name != name.lower()] == []
