"""From the YAML files of `conf/` to a typed experiment: names, choices, parts, schema, composition."""
