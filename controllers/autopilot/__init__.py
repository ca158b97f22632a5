"""A catalogue of platform assets is kept applied on a cluster.

documents  YAML of strangers, within limits     metadata  what a catalogue says
assets     the catalogue, loaded and checked    facts     what the Nodes tell
context    what a template may read             gates     which assets apply (pure)
lookups    what a template asks of the cluster  functions what a template may call
render     asset + context → object             schemas   what a CRD says of a field
"""
