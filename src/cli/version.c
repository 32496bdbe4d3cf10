/* --version: what this program is made of. */
#include "cli/command.h"
#include "cluster/build.h"
#include "torch_shim.h"

#include <stdio.h>

int version_print(bool json, struct error *err) {
    json_t *versions = build_versions(), *value;
    const char *key;
    int rc = versions && json_object_set_new(versions, "networks", json_string(shim_forms())) == 0 ? 0
                                                                                                   : error_memory(err);
    if (rc == 0 && json) {
        rc = print_json(versions, err);
    } else if (rc == 0) {
        printf("qtaylor %s\n", json_string_value(json_object_get(versions, "qtaylor")));
        json_object_foreach(versions, key, value) {
            if (json_is_string(value)) printf("  %-10s %s\n", key, json_string_value(value));
        }
    }
    json_decref(versions);
    return rc;
}
