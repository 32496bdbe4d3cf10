/* How large a YAML text may become: aliases are copies, and what the parser does with keys, aliases, tags and blank
 * lines in a value takes time that grows with the square of their number. Found in one pass over the parser's events,
 * before anything is built. */
#ifndef CONFIG_YAML_BOUNDS_H
#define CONFIG_YAML_BOUNDS_H

#include <stddef.h>

/* What takes libfyaml's messages, which it would print itself. New (fy_diag_destroy); NULL: out of memory. */
struct fy_diag;
struct fy_diag *yaml_silent_diag(void);
/* NULL: within bounds, or malformed, which the parser says better. Else what was expected ("at most ..."), and where
 * there was more. */
const char *yaml_excess(const char *text, size_t size, int *line, int *column);

#endif
