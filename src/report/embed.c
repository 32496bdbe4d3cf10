/* The page's own files as strings. */
#include "report/markup.h"

#define EMBED(name, file)                                                                                              \
    __asm__(".pushsection .rodata\n.globl " #name "\n" #name ":\n.incbin \"src/report/" file "\"\n.byte 0\n.popsection")

EMBED(page_css, "page.css");
EMBED(page_js, "page.js");
EMBED(chart_css, "chart.css");
