"""What a manager may ask of the API server: from code to roles, and back.

    watches, Permissions ──▶ Grant … ──minimise──▶ PolicyRule … ──▶ Role, ClusterRole
       what code says        atoms                 fewest that say the same   │
                               ▲                                              │
                               └──────────────── Roles.of ◀───────────────────┘

A grant is the smallest thing that a role can give: one verb on one resource, maybe of
one name, in one namespace or in all. Everything is decided on grants, so that what is
written is exactly what is needed, and can be held against what was asked for.

Watching takes `list` and `watch` and no `get`: caches read collections, by name too.

Rules are joined as controller-gen does (`pkg/rbac/parser.go`), and read as
kube-apiserver does (`pkg/apis/rbac/v1/evaluation_helpers.go`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

from controller_runtime.meta import (
    GroupVersionKind,
    Json,
    Kind,
    KubeObject,
    NamespacedName,
    kind_of,
)
from controller_runtime.requestinfo import RequestInfo
from controller_runtime.resources import Resource, resource_of

_API = "rbac.authorization.k8s.io"

WATCHING = ("list", "watch")
"""Verbs that a cache needs; `list` where the server cannot stream a collection."""

EVERYWHERE = ("",)
"""All namespaces, and what is in none."""


@dataclass(frozen=True, slots=True)
class Permission:
    """What code asks of the API server besides its watches, said next to it.

    `Permission(Deployment, ("patch",))`
    """

    kind: Kind
    """On what."""

    verbs: tuple[str, ...]
    """Such as `create`. A server-side apply is a `patch`; it takes `create` as well
    where it makes the object."""

    subresource: str = field(default="", kw_only=True)
    """Such as `status`; empty for the object itself."""

    names: tuple[str, ...] = field(default=(), kw_only=True)
    """Only objects of these names; empty for all. Says nothing for `create`, since the
    server does not know the name yet when it decides."""

    namespaces: tuple[str, ...] | None = field(default=None, kw_only=True)
    """Only there. `None` is where the kind is watched or, if it is not, where anything
    is."""


class Watched(NamedTuple):
    """A collection that is watched."""

    kind: Kind
    places: tuple[str, ...]
    """Namespaces; one empty name for all."""
    field_selector: str = ""


class Grant(NamedTuple):
    """One verb on one resource: the smallest thing that a role can give."""

    verb: str
    group: str = ""
    resource: str = ""
    """With the subresource, such as `deployments/status`; empty for a path."""
    name: str = ""
    """Empty for all."""
    namespace: str = ""
    """Empty for all namespaces, and for what is in none."""
    path: str = ""
    """What is no resource, such as `/metrics`; a `*` at the end stands for the rest."""

    def allows(self, request: RequestInfo) -> bool:
        """Whether the API server would let the request pass for this grant."""
        if self.verb not in {"*", request.verb}:
            return False
        if request.path or self.path:
            return bool(request.path) and _path_fits(self.path, request.path)
        return (
            self.group in {"*", request.group}
            and _resource_fits(self.resource, request)
            and self.name in {"", request.name}
            and self.namespace in {"", request.namespace}
        )

    def __str__(self) -> str:
        if self.path:
            return f"{self.verb} {self.path}"
        resource, slash, subresource = self.resource.partition("/")
        group = f".{self.group}" if self.group else ""
        name = f" {self.name}" if self.name else ""
        place = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {resource}{group}{slash}{subresource}{name}{place}"


def needed(
    watched: Iterable[Watched],
    permissions: Iterable[Permission],
    *,
    model_for: Callable[[GroupVersionKind], type[KubeObject] | None] = lambda _: None,
) -> frozenset[Grant]:
    """Return the grants for what is watched and what is declared, none of them twice.

    Args:
        watched: The collections that caches keep.
        permissions: What code declares.
        model_for: Knows the models of kinds that are not named by one, for their
            plurals; see `Scheme.model_for`.
    """
    watches, declared = tuple(watched), tuple(permissions)
    kinds = [*(it.kind for it in watches), *(it.kind for it in declared)]
    resource = _resources(kinds, model_for)
    places: defaultdict[Resource, set[str]] = defaultdict(set)
    for watch in watches:
        places[resource(watch.kind)].update(watch.places)
    anywhere = set().union(*places.values()) or set(EVERYWHERE)
    grants: set[Grant] = set()
    for watch in watches:
        grants.update(_watching(watch, resource(watch.kind)))
    for permission in declared:
        found = resource(permission.kind)
        usual = places.get(found, anywhere)
        grants.update(_granted(permission, found, usual))
    return without_repetition(grants)


def _resources(
    kinds: Iterable[Kind],
    model_for: Callable[[GroupVersionKind], type[KubeObject] | None],
) -> Callable[[Kind], Resource]:
    """Make what finds the resource of a kind, whichever way the kind is named."""
    models = {k.gvk: k for k in kinds if not isinstance(k, GroupVersionKind)}

    def resource(kind: Kind) -> Resource:
        gvk = kind_of(kind)
        return resource_of(models.get(gvk) or model_for(gvk) or gvk)

    return resource


def _watching(watch: Watched, resource: Resource) -> Iterator[Grant]:
    name = watch.field_selector.removeprefix("metadata.name=")
    if name == watch.field_selector or set(",=!") & set(name):
        name = ""  # the selector is about something else, or about more
    where = watch.places if resource.namespaced else EVERYWHERE
    for verb, place in product(WATCHING, where):
        yield Grant(verb, resource.group, resource.plural, name, place)


def _granted(
    permission: Permission, resource: Resource, usual: Iterable[str]
) -> Iterator[Grant]:
    where: Iterable[str] = EVERYWHERE
    if resource.namespaced:
        where = usual if permission.namespaces is None else permission.namespaces
    plural = "/".join(filter(None, (resource.plural, permission.subresource)))
    for verb, place in product(permission.verbs, where):
        names = ("",) if verb == "create" else permission.names or ("",)
        for name in names:
            yield Grant(verb, resource.group, plural, name, place)


def without_repetition(grants: Iterable[Grant]) -> frozenset[Grant]:
    """Leave out what a wider grant gives already."""
    given = frozenset(grants)

    def is_given(grant: Grant) -> bool:
        wider = {
            grant._replace(name=name, namespace=namespace)
            for name, namespace in product({"", grant.name}, {"", grant.namespace})
        }
        return not given.isdisjoint(wider - {grant})

    return frozenset(grant for grant in given if not is_given(grant))


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRule:
    """A rule of a role: every verb on every one of its resources, or paths."""

    verbs: tuple[str, ...]
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    """Only objects of these names; empty for all."""
    non_resource_urls: tuple[str, ...] = ()

    @classmethod
    def parse(cls, rule: Mapping[str, Sequence[str]]) -> PolicyRule:
        """Read the JSON of a rule."""
        return cls(
            verbs=tuple(rule.get("verbs", ())),
            api_groups=tuple(rule.get("apiGroups", ())),
            resources=tuple(rule.get("resources", ())),
            resource_names=tuple(rule.get("resourceNames", ())),
            non_resource_urls=tuple(rule.get("nonResourceURLs", ())),
        )

    def to_json(self) -> Json:
        """Return the JSON of the rule."""
        fields = {
            "apiGroups": self.api_groups,
            "nonResourceURLs": self.non_resource_urls,
            "resourceNames": self.resource_names,
            "resources": self.resources,
            "verbs": self.verbs,
        }
        return {name: list(values) for name, values in fields.items() if values}

    def grants(self, namespace: str = "") -> Iterator[Grant]:
        """Yield what it gives, in a role of this namespace."""
        names = self.resource_names or ("",)
        for verb, group, resource, name in product(
            self.verbs, self.api_groups, self.resources, names
        ):
            yield Grant(verb, group, resource, name, namespace)
        for verb, path in product(self.verbs, self.non_resource_urls):
            yield Grant(verb, namespace=namespace, path=path)


def allows(
    rules: Iterable[PolicyRule], request: RequestInfo, *, namespace: str = ""
) -> bool:
    """Whether the rules of a role let a request pass.

    Args:
        rules: All of the role.
        request: What is asked.
        namespace: Of the role; empty for a ClusterRole bound in the whole cluster.
    """
    grants = (grant for rule in rules for grant in rule.grants(namespace))
    return any(grant.allows(request) for grant in grants)


def minimise(grants: Iterable[Grant]) -> tuple[PolicyRule, ...]:
    """Join grants into few rules that give exactly the same, in a fixed order.

    Namespaces play no part: they are those of the roles.
    """
    rules = {
        PolicyRule(verbs=(g.verb,), non_resource_urls=(g.path,))
        if g.path
        else PolicyRule(
            verbs=(g.verb,),
            api_groups=(g.group,),
            resources=(g.resource,),
            resource_names=(g.name,) if g.name else (),
        )
        for g in grants
    }
    for part in ("verbs", "resource_names", "resources", "api_groups"):
        rules = set(_joined(rules, part))
    rules = set(_joined(rules, "non_resource_urls"))
    return tuple(sorted(rules, key=_order))


def _joined(rules: Iterable[PolicyRule], part: str) -> Iterator[PolicyRule]:
    """Join the rules that differ in one part only."""
    alike: defaultdict[Hashable, list[PolicyRule]] = defaultdict(list)
    for rule in rules:
        is_open = not getattr(rule, part)  # no names are all names: leave it alone
        alike[is_open, replace(rule, **{part: ()})].append(rule)
    for same in alike.values():
        values = sorted({value for rule in same for value in getattr(rule, part)})
        yield replace(same[0], **{part: tuple(values)})


def _order(rule: PolicyRule) -> tuple[tuple[str, ...], ...]:
    return (
        rule.api_groups,
        rule.resources,
        rule.non_resource_urls,
        rule.resource_names,
        rule.verbs,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The roles of one account: at most one for the cluster, and one a namespace."""

    name: str
    cluster: tuple[PolicyRule, ...] = ()
    namespaced: Mapping[str, tuple[PolicyRule, ...]] = field(default_factory=dict)
    """namespace → rules."""

    @classmethod
    def of(cls, name: str, grants: Iterable[Grant]) -> Roles:
        """Put grants into roles, those for a namespace into one there."""
        places: defaultdict[str, set[Grant]] = defaultdict(set)
        for grant in without_repetition(grants):
            places[grant.namespace].add(grant)
        rules = {place: minimise(places[place]) for place in sorted(places)}
        return cls(name=name, cluster=rules.pop("", ()), namespaced=rules)

    @classmethod
    def read(cls, name: str, objects: Iterable[Mapping[str, object]]) -> Roles:
        """Read what roles of this name give, as though all were bound."""
        rules: defaultdict[str, list[PolicyRule]] = defaultdict(list)
        for obj in objects:
            role: Json = dict(obj)
            is_role = role["kind"] in {"Role", "ClusterRole"}
            if is_role and role["metadata"]["name"] == name:
                place = role["metadata"].get("namespace", "")
                rules[place] += map(PolicyRule.parse, role.get("rules") or ())
        places = {place: tuple(found) for place, found in rules.items()}
        return cls(name=name, cluster=places.pop("", ()), namespaced=places)

    @property
    def grants(self) -> frozenset[Grant]:
        """What they give."""
        all_rules = {"": self.cluster, **self.namespaced}
        return frozenset(
            grant
            for place, rules in all_rules.items()
            for rule in rules
            for grant in rule.grants(place)
        )

    def allow(self, request: RequestInfo) -> bool:
        """Whether the account may make the request."""
        return any(grant.allows(request) for grant in self.grants)

    def unused(self, requests: Iterable[RequestInfo]) -> list[Grant]:
        """Return what none of these requests needed, in order."""
        asked = set(requests)
        return sorted(
            grant
            for grant in self.grants
            if not any(grant.allows(request) for request in asked)
        )

    def objects(self, account: NamespacedName | None = None) -> list[Json]:
        """Return the roles as objects, and their bindings to a ServiceAccount."""
        made: list[Json] = []
        for place, rules in {"": self.cluster, **self.namespaced}.items():
            if rules:
                made.append(_role(self.name, place, rules))
                if account is not None:
                    made.append(_binding(self.name, place, account))
        return made


def _role(name: str, namespace: str, rules: Iterable[PolicyRule]) -> Json:
    return {
        "apiVersion": f"{_API}/v1",
        "kind": "Role" if namespace else "ClusterRole",
        "metadata": _metadata(name, namespace),
        "rules": [rule.to_json() for rule in rules],
    }


def _binding(name: str, namespace: str, account: NamespacedName) -> Json:
    kind = "Role" if namespace else "ClusterRole"
    subject = {
        "kind": "ServiceAccount",
        "name": account.name,
        "namespace": account.namespace,
    }
    return {
        "apiVersion": f"{_API}/v1",
        "kind": f"{kind}Binding",
        "metadata": _metadata(name, namespace),
        "roleRef": {"apiGroup": _API, "kind": kind, "name": name},
        "subjects": [subject],
    }


def _metadata(name: str, namespace: str) -> Json:
    return {"name": name, "namespace": namespace} if namespace else {"name": name}


def _resource_fits(granted: str, request: RequestInfo) -> bool:
    if granted in {"*", request.full_resource}:
        return True
    return bool(request.subresource) and granted == f"*/{request.subresource}"


def _path_fits(granted: str, path: str) -> bool:
    return granted == path or (
        granted.endswith("*") and path.startswith(granted.rstrip("*"))
    )


def _system(*paths: str) -> tuple[PolicyRule, ...]:
    return (PolicyRule(verbs=("get",), non_resource_urls=paths),)


OPEN_TO_ALL = Roles(
    name="system:discovery",
    cluster=_system(
        *("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi"),
        *("/openapi/*", "/readyz", "/version", "/version/"),
    ),
)
"""What every account may do under Kubernetes' default roles: that of the same name in
`plugin/pkg/auth/authorizer/rbac/bootstrappolicy`."""
