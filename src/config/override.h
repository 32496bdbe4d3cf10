/* `--set key.path=value` on a job as read from YAML. */
#ifndef CONFIG_OVERRIDE_H
#define CONFIG_OVERRIDE_H

#include "base/error.h"

#include <jansson.h>

/* Puts one override into the map root and its place into places. The value is YAML; null takes a key away (where the
 * path begins with `values`, unless NULL, it is the value); missing maps on the way are made. A malformed one is
 * CODE_USAGE. */
int override_apply(json_t *root, json_t *places, const char *override, const char *values, struct error *err);

#endif
