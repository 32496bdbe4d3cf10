/* `--set key.path=value` on a job as read from YAML. */
#ifndef CONFIG_OVERRIDE_H
#define CONFIG_OVERRIDE_H

#include "base/error.h"

#include <jansson.h>

/* Puts one override into the map root and its place into places. The value is YAML; null takes a key away (where the
 * path begins with `values`, unless NULL, it is the value); missing maps on the way are made. A malformed one is
 * CODE_USAGE. */
int override_apply(json_t *root, json_t *places, const char *override, const char *values, struct error *err);

/* The override that set what a message begins with, "sampler.solver: ...", itself or a map around it: the last one.
 * Borrowed; NULL: none did. */
const char *override_named(const char *message, const char *const *overrides, size_t count);

#endif
