"""Where a chart comes from, and the values that go into it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from controller_runtime.meta import ApiModel, Json
from controller_runtime.schema import ValidationRule, at_most_one_of, marked

Name = Annotated[str, Field(min_length=1, max_length=253)]


class SecretReference(ApiModel):
    """A Secret, or one key of it."""

    name: Name

    namespace: Annotated[str, Field(max_length=63)] = ""
    """By default that of the object; another only where the manager allows it."""

    key: Annotated[str, Field(max_length=253)] = ""
    """The one key to read; by default those whose names are usual."""


@marked(
    ValidationRule(
        "!has(self.password) || self.password == '' || "
        "(has(self.username) && self.username != '')",
        message="a password needs a username",
        field_path=".username",
    ),
    ValidationRule(
        "!has(self.token) || self.token == '' || "
        "(has(self.type) && self.type == 'token')",
        message="a token needs type: token",
        field_path=".type",
    ),
)
class RepositoryAuth(ApiModel):
    """Who we are to the repository; a Secret comes before what is written here."""

    model_config = ConfigDict(hide_input_in_errors=True)

    type: Literal["basic", "token", "docker-config"] = "basic"

    username: Annotated[str, Field(max_length=1024)] = ""

    password: Annotated[str, Field(max_length=8192, repr=False)] = ""
    """Better in a Secret: everybody who may read the object sees it."""

    token: Annotated[str, Field(max_length=16384, repr=False)] = ""
    """Better in a Secret: everybody who may read the object sees it."""

    secret_ref: SecretReference | None = None
    """Keys `username` and `password`, `token`, or `.dockerconfigjson`. One that is
    missing or cannot be read is an error."""


class RepositoryTls(ApiModel):
    """Whom we believe, and which certificate we show."""

    insecure_skip_verify: bool = False
    """Believe any certificate: whoever is in between can change the chart."""

    ca_bundle: Annotated[str, Field(max_length=1048576)] = ""
    """PEM certificates to believe besides the system's, in base64."""

    secret_ref: SecretReference | None = None
    """Keys `ca.crt`, and `tls.crt` with `tls.key`."""


class ChartRepository(ApiModel):
    """A registry or an HTTP repository; the scheme of its URL says which."""

    url: Annotated[
        str, Field(pattern=r"^(https?|oci|git\+https)://.*$", max_length=2048)
    ]
    """Such as `oci://registry.example/charts` or `https://charts.example`."""

    type: Literal["http", "oci", "git"] | None = None
    """Not needed: the scheme decides, and one that says otherwise is ignored with a
    warning."""

    auth: RepositoryAuth | None = None
    tls: RepositoryTls | None = None

    plain_http: Annotated[bool, Field(alias="plainHTTP")] = False
    """Speak HTTP to a registry: only on the loopback or in the cluster, or where the
    manager allows it."""

    pass_credentials: bool = False
    """Show who we are to other hosts that the repository's index names, too."""


class ValuesReference(ApiModel):
    """Values in a ConfigMap or a Secret."""

    name: Name

    namespace: Annotated[str, Field(max_length=63)] = ""
    """By default that of the object; another only where the manager allows it."""

    key: Annotated[str, Field(max_length=253)] = ""
    """The key with YAML; by default all keys, in the order of their names."""

    optional: bool = False
    """Whether it may be missing."""

    target_path: Annotated[str, Field(max_length=1024)] = ""
    """Put the content under this path, such as `image.tag`, instead of merging it."""

    literal: bool = False
    """With `targetPath`: take the content as text and not as YAML."""


class ValuesTemplate(ApiModel):
    """`${NAME}` and `{{NAME}}` in values become what is said here.

    `ROOST_NAME`, `ROOST_NAMESPACE` and `TARGET_NAMESPACE` are known besides.
    """

    enabled: bool = False
    context: dict[str, str] = Field(default_factory=dict)


@marked(at_most_one_of("inline", "object"))
class ChartValues(ApiModel):
    """Values, merged over the chart's own."""

    inline: str | None = None
    """YAML, read by Helm's own rules."""

    object: Json | None = None
    """The same as an object."""

    config_map_refs: Annotated[tuple[ValuesReference, ...], Field(max_length=64)] = ()
    secret_refs: Annotated[tuple[ValuesReference, ...], Field(max_length=64)] = ()

    precedence: Literal["refsLast", "inlineLast"] = "refsLast"
    """Who has the last word: ConfigMaps and then Secrets, or what is written here.
    What has a `targetPath` comes last in any case."""

    template: ValuesTemplate = ValuesTemplate()


class GitReference(ApiModel):
    """What of a git repository is meant."""

    branch: str = ""
    tag: str = ""
    commit: str = ""
    semver: str = ""


class GitSource(ApiModel):
    """A chart in a git repository."""

    ref: GitReference = GitReference()

    path: Annotated[str, Field(max_length=1024)] = ""
    """Folder of the chart; by default the root."""
