"""Secrets: found by pattern, redacted in texts and addresses."""

import pytest

from kedge.model.secrets import find_kinds, public_address, redact, secrets_of_address, secrets_of_command

SECRET = "hunter2-S3cr3t"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (f"postgresql://ann:{SECRET}@host/db", "postgresql://ann@host/db"),
        (f"postgresql://ann:{SECRET}@host:5432/db?sslmode=require", "postgresql://ann@host:5432/db?sslmode=require"),
        (f"postgresql://ann:x/{SECRET}@host/db", "postgresql://ann@host/db"),
        (f"postgresql://ann:x?{SECRET}@host/db?sslmode=require", "postgresql://ann@host/db?sslmode=require"),
        (f"postgresql://ann:x@{SECRET}@host/db", "postgresql://ann@host/db"),
        (f"postgresql://ann:12/{SECRET}#x@host:abc/db", "postgresql://ann@host:abc/db"),
        (f"postgresql://ann:{SECRET}", "postgresql://ann:…"),
        (f"postgresql:/ann:{SECRET}@host/db", "postgresql:/ann@host/db"),
        (f"postgresql+psycopg://ann:{SECRET}@host/db", "postgresql+psycopg://ann@host/db"),
        (f"postgresql://ann@host/db?password={SECRET}", "postgresql://ann@host/db?password=…"),
        (
            f"postgresql://ann@host/db?sslmode=x&pass%77ord={SECRET}@x",
            "postgresql://ann@host/db?sslmode=x&pass%77ord=…",
        ),
        (f"postgresql://ann@host/db?sslpassword={SECRET}&user=x", "postgresql://ann@host/db?sslpassword=…&user=x"),
        ("postgresql://ann@host/db", "postgresql://ann@host/db"),
        ("postgresql://host:5432,other:5433/db", "postgresql://host:5432,other:5433/db"),
        (f"https://{SECRET}@host/model", "https://…@host/model"),
        (f"https://host/model?token={SECRET}&v=7", "https://host/model?token=…&v=7"),
        (f"https://host/m?X-Amz-Signature={SECRET}", "https://host/m?X-Amz-Signature=…"),
        ("https://host/model?key={key}", "https://host/model?key={key}"),
        ("https://[::1]:8080/model", "https://[::1]:8080/model"),
        ("docker://registry:5000/app@sha256:9f2c", "docker://registry:5000/app@sha256:9f2c"),
        ("docker://ghcr.io/app:v7@sha256:9f2c", "docker://ghcr.io/app:v7@sha256:9f2c"),
        ("models:/support/7", "models:/support/7"),
        ("sqlite:///state/kedge.db", "sqlite:///state/kedge.db"),
    ],
)
def test_an_address_is_shown_without_its_secrets(address: str, shown: str) -> None:
    assert public_address(address) == shown
    assert bool(secrets_of_address(address)) == (address != shown)


@pytest.mark.parametrize(
    "text",
    [
        f"curl -H 'Authorization: Bearer {SECRET}' https://host",
        f"['curl', '--token', '{SECRET}', 'x'] exited with 22",
        f"mlflow --password={SECRET} serve",
        f"mlflow --password {SECRET} serve",
        f"curl -u ann:{SECRET} https://host",
        f"API_KEY={SECRET} deploy",
        f"X-Api-Key: {SECRET}",
        f"cannot reach redis://default:{SECRET}@cache:6379/0",
        "sk-abcdefghij0123456789",
        "ghp_abcdefghij0123456789abcd",
    ],
)
def test_a_text_is_shown_without_its_secrets(text: str) -> None:
    assert find_kinds(text)
    shown = redact(text)
    assert SECRET not in shown
    assert "abcdefghij0123456789" not in shown
    assert not find_kinds(shown)


@pytest.mark.parametrize(
    "text",
    [
        "HTTPError: HTTP Error 503: Service Unavailable",
        "it is at models:/support/7, not at docker://registry:5000/app@sha256:9f2c",
        "unexpected token: ';' in line 3",
        "sh: 1: /opt/app-2/bin/deploy: not found",
        "curl: (6) Could not resolve host: models-1.example.com",
        "the secret is in $TOKEN; set API_KEY=$TOKEN",
    ],
)
def test_an_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact(text) == text
    assert not find_kinds(text)


def test_what_a_command_repeats_of_itself_is_redacted() -> None:
    known = secrets_of_command(
        ["/bin/sh", "-c", f"deploy {SECRET} x"], {"MODEL_TOKEN": "correct-horse", "HOME": "/root"}
    )
    assert redact(f"no access for {SECRET} with correct-horse in /root", known) == "no access for … with … in /root"
