/* Errors are values: a code that main turns into the exit status, and a message a user can act on
 * (what, where, expected, found, what to do). Functions that can fail return 0 or -1 and fill *err. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

enum code {
    CODE_OK = 0,
    CODE_ROUNDED = 1,     /* compare --same: the same within rounding */
    CODE_DIFFERENT = 2,   /* compare --same: different */
    CODE_USAGE = 64,      /* wrong command line */
    CODE_DATA = 65,       /* bad job, card, model, shard or reference */
    CODE_INTERNAL = 70,   /* a bug, or out of memory */
    CODE_IO = 74,         /* reading or writing failed */
    CODE_AGAIN = 75,      /* interrupted, or gaps found: run again to continue */
    CODE_QUARANTINE = 76, /* finished, but some units failed twice */
};

struct error {
    enum code code;
    char message[2000]; /* no trailing newline */
};

/* Sets *err and returns -1, so that a caller can write: return error_set(err, CODE_DATA, "..."). */
int error_set(struct error *err, enum code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts "context: " before the message that is there; returns -1. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Puts more behind the message that is there; returns -1. */
int error_suffix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* error_set for a failed allocation. */
int error_memory(struct error *err);

#endif
