/* The inputs that a card names: see struct card_input. */
#ifndef JOB_CARD_INPUTS_H
#define JOB_CARD_INPUTS_H

#include "config/keys.h"
#include "job/card.h"

/* A kind's read (keys.h) of the list; member: the card. */
int card_read_inputs(KEY_READ_ARGUMENTS);

#endif
