"""Values from ConfigMaps and Secrets, and what becomes of bad ones."""

from __future__ import annotations

import json

from conformance.charts import chart
from conformance.roosts import CONFIG_MAP, SECRET, Yard, message, says

SHOWS_ALL = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}
data:
  {{- range $key, $value := .Values }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
"""

SCHEMA = {
    "type": "object",
    "properties": {"password": {"type": "string", "maxLength": 4}},
}


async def test_an_edited_config_map_is_one_upgrade_however_many_edits(
    yard: Yard,
) -> None:
    """Scenario 9."""
    await yard.apply(CONFIG_MAP, "settings", data={"values.yaml": "greeting: '0'"})
    values = {"configMapRefs": [{"name": "settings", "key": "values.yaml"}]}
    async with yard.manager():
        await yard.create(chart={"values": values})
        await yard.ready(1)

        for number in range(1, 6):
            data = {"values.yaml": f"greeting: '{number}'"}
            await yard.apply(CONFIG_MAP, "settings", data=data)

        await yard.ready(2, timeout=10)
        assert (await yard.config_map())["data"] == {"greeting": "5"}
    assert await yard.statuses() == ["superseded", "deployed"]


async def test_later_sources_win_and_null_removes_a_default(yard: Yard) -> None:
    """Scenario 10."""
    defaults = dict.fromkeys(("inline", "one", "two", "secret", "path"), "chart")
    yard.publish(
        chart(templates={"all.yaml": SHOWS_ALL}, values={**defaults, "gone": "chart"})
    )
    layers = ["inline", "one", "two", "secret", "path"]

    def text(name: str) -> str:
        """Return YAML that sets everything from this layer upwards."""
        above = layers[layers.index(name) :]
        return "\n".join([*(f"{key}: {name}" for key in above), "gone: null"])

    for name in ("one", "two"):
        await yard.apply(CONFIG_MAP, name, data={"values.yaml": text(name)})
    await yard.apply(
        SECRET, "secret", stringData={"values.yaml": text("secret"), "path": "path"}
    )
    values = {
        "inline": text("inline"),
        "configMapRefs": [{"name": "one"}, {"name": "two"}],
        "secretRefs": [
            {"name": "secret", "key": "values.yaml"},
            {"name": "secret", "key": "path", "targetPath": "path"},
        ],
    }
    async with yard.manager():
        await yard.create(chart={"values": values})
        await yard.ready(1)
        assert (await yard.config_map())["data"] == {it: it for it in layers}

        await yard.change(chart={"values": {"precedence": "inlineLast"}})
        await yard.ready(2)
        assert (await yard.config_map())["data"] == {
            **dict.fromkeys(layers, "inline"),
            "path": "path",
        }


async def test_placeholders_are_filled_in_once(yard: Yard) -> None:
    """Scenario 12."""
    yard.publish(chart(templates={"all.yaml": SHOWS_ALL}, values={"name": 1}))
    template = {"enabled": True, "context": {"TRAP": "${TARGET_NAMESPACE}"}}
    values = {"inline": "name: ${ROOST_NAME}\ntrap: ${TRAP}\n", "template": template}
    async with yard.manager():
        await yard.create(chart={"values": values})
        await yard.ready(1)
        data = (await yard.config_map())["data"]
    assert data == {"name": "web", "trap": "${TARGET_NAMESPACE}"}


async def test_values_that_break_the_schema_stall_without_showing_the_secret(
    yard: Yard,
) -> None:
    """Section 2.3, and issue 6: invalid values."""
    yard.publish(chart(files={"values.schema.json": json.dumps(SCHEMA)}))
    await yard.apply(SECRET, "s", stringData={"values.yaml": "password: hunter2secret"})
    async with yard.manager():
        await yard.create(chart={"values": {"secretRefs": [{"name": "s"}]}})

        roost = await yard.not_ready("ValuesInvalid")
        event = await yard.told("InstallFailed")
        assert says(roost, "Stalled") == "True/ValuesInvalid"
        assert "hunter2secret" not in message(roost) + event["note"]
        assert await yard.records() == []

        await yard.apply(SECRET, "s", stringData={"values.yaml": "password: ok"})
        await yard.ready(1)


async def test_values_that_are_no_yaml_or_not_there_are_named(yard: Yard) -> None:
    """Issue 6: invalid values."""
    async with yard.manager():
        await yard.create("broken", chart={"values": {"inline": "a: [1"}})
        await yard.create(
            "missing", chart={"values": {"configMapRefs": [{"name": "nowhere"}]}}
        )

        broken = await yard.not_ready("ValuesInvalid", "broken")
        missing = await yard.not_ready("ValuesNotFound", "missing")

    assert "spec.chart.values.inline" in message(broken)
    assert f"ConfigMap {yard.namespace}/nowhere does not exist" in message(missing)
