/* YAML 1.2 text as JSON values, which remember where they stood. Anchors are resolved; tags are refused. A plain scalar
 * becomes what the core schema says (null, true, 12, 0.5); ".inf", ".nan" and integers beyond 64 bits stay text. */
#ifndef CONFIG_YAML_H
#define CONFIG_YAML_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>

/* *value: new. places (NULL: not wanted, and messages name no lines): an object that gets, for the dotted path of each
 * key and list element ("sampler.times[2]"), ["FILE:LINE:COLUMN of the key", "... of the value"]; a map or list has its
 * key's. Text beyond the bounds of yaml_bounds.c, malformed text, several documents, a key given twice and an empty
 * text are errors (CODE_DATA, "name:line:column: ..."). */
int yaml_parse(json_t **value, json_t *places, const char *text, size_t size, const char *name, struct error *err);

#endif
