/* For gcc -fanalyzer (make lint), which sees one file at a time: errors return -1, so what follows on rc == 0 is not
 * reached. */
#include "base/error.h"

#define error_set(...) (error_set(__VA_ARGS__), -1)
#define error_memory(...) (error_memory(__VA_ARGS__), -1)
#define error_prefix(...) (error_prefix(__VA_ARGS__), -1)
