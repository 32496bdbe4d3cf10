#include "run/agree.h"

int ranks_agree(struct comm *comm, int rc, struct error *err) {
    unsigned char code = rc == 0 ? 0 : (unsigned char)(err->code ? err->code : CODE_INTERNAL);
    struct error failure;
    if (!comm) return rc;
    if (comm_merge(comm, &code, 1, &failure) != 0) {
        if (rc == 0) *err = failure;
        return -1;
    }
    if (code == 0) return 0;
    if (rc == 0) *err = (struct error){.code = (enum code)code};
    return -1;
}
