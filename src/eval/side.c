#include "eval/side.h"

#include <stdlib.h>
#include <string.h>

int side_take(struct side *side, struct features *features, const char *network, struct error *err) {
    struct moments moments;
    *side = (struct side){.features = *features};
    *features = (struct features){0};
    int rc = features_moments(&side->features, 0, side->features.count, &moments, err);
    if (rc == 0) {
        rc = statistics_from_moments(&side->statistics, &moments, err);
        moments_free(&moments);
    }
    if (rc == 0 && network) memcpy(side->statistics.network, network, SHA256_HEX);
    if (rc != 0) side_free(side);
    return rc;
}

int side_read(struct side *side, const char *path, struct error *err) {
    struct features features;
    size_t length = strlen(path);
    bool statistics = length > 4 && strcmp(path + length - 4, ".npz") == 0 && !features_in_npz(path);
    *side = (struct side){0};
    if (statistics) return statistics_read(&side->statistics, path, err);
    if (features_read(&features, path, err) != 0) return -1;
    if (side_take(side, &features, NULL, err) == 0) return 0;
    return error_prefix(err, "%s", path);
}

void side_free(struct side *side) {
    features_free(&side->features);
    statistics_free(&side->statistics);
}
