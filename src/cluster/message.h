/* What the communication threads say to one another. Rank 0 talks to itself in the same way. */
#ifndef CLUSTER_MESSAGE_H
#define CLUSTER_MESSAGE_H

#include "cluster/cluster.h"

#include <stdint.h>

enum message_kind {
    /* to the coordinator */
    MESSAGE_REQUEST, /* one more unit, please */
    MESSAGE_DONE,    /* `unit` is committed */
    MESSAGE_FAILED,  /* `unit` could not be made */
    MESSAGE_ALIVE,   /* every second */
    MESSAGE_HALT,    /* let everybody stop; code: why */
    MESSAGE_LEFT,    /* after STOP: the workers are gone, all has been said; the sender waits for END */
    MESSAGE_GONE,    /* the coordinator was silent for too long: the sender waits for nothing any more */
    /* from the coordinator */
    MESSAGE_UNIT,  /* do `unit` */
    MESSAGE_PULSE, /* every second */
    MESSAGE_STOP,  /* finish. code: CODE_OK all is done, CODE_AGAIN interrupted, else the error that broke a rank */
    MESSAGE_END,   /* the others have finished too, or are `lost`: leave */
};

struct message {
    uint64_t run; /* the number of this cluster_run: late messages of an earlier one are ignored */
    uint64_t unit;
    struct tally tally; /* DONE: of the unit; UNIT: of those that it needed */
    int32_t kind, code, lost;
};

/* Seconds between two signs of life. */
double message_pause(double lease);
/* Seconds of silence after which a rank counts as lost once everybody stops for `code`. */
double message_patience(double lease, enum code code);

#endif
