/* How often ranks give a sign of life, and how long they wait for one. */
#include "cluster/message.h"

static const double HEARTBEAT = 1; /* s */
static const double MOMENTS = 5;   /* s: an interrupted job has little time left */

double message_pause(double lease) {
    return lease / 5 < HEARTBEAT ? lease / 5 : HEARTBEAT;
}

double message_patience(double lease, enum code code) {
    return code == CODE_OK || lease < MOMENTS ? lease : MOMENTS;
}
