/* What other tools call a solver: diffusers' classes (DDIMScheduler), k-diffusion's functions (sample_dpmpp_2m), what
 * user interfaces show (DPM++ 2M Karras). */
#include "base/text.h"
#include "solver/registry.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 48 };

/* Letters and digits alone, in lower case, + as p: "DPM++ 2M" and "dpmpp-2m" are the same. */
static void simplify(const char *name, char simple[LONGEST]) {
    size_t length = 0;
    for (; *name && length < LONGEST - 1; name++)
        if (*name == '+') simple[length++] = 'p';
        else if (isalnum((unsigned char)*name)) simple[length++] = (char)tolower((unsigned char)*name);
    simple[length] = '\0';
}

/* Takes off what says nothing of the solver. */
static void strip(char *simple) {
    static const char *const before[] = {"sample", "k"}, *const behind[] = {"scheduler", "karras", "exponential"};
    for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
        size_t length = strlen(before[i]);
        if (strncmp(simple, before[i], length) == 0) memmove(simple, simple + length, strlen(simple + length) + 1);
    }
    for (size_t i = 0; i < sizeof behind / sizeof *behind; i++) {
        size_t length = strlen(behind[i]), whole = strlen(simple);
        if (whole > length && strcmp(simple + whole - length, behind[i]) == 0) simple[whole - length] = '\0';
    }
}

struct other {
    const char *theirs, *ours;
};

/* Where something was taken off, so that it is another tool's word: these are steps in sigma/alpha there. */
static const struct other of_another_tool[] = {{"euler", "ddim"}, {"heun", "edm"}};

static const struct other others[] = {
    {"eulera", "euler-ancestral"},
    {"eulerancestraldiscrete", "euler-ancestral"},
    {"eulerdiscrete", "ddim"},
    {"heundiscrete", "edm"},
    {"flowmatcheulerdiscrete", "euler"},
    {"flowmatchheundiscrete", "heun"},
    {"flowmatchlcm", "consistency"},
    {"ddimparallel", "ddim"},
    {"ddpmparallel", "ddpm"},
    {"unclip", "ddpm"},
    {"unipcbh2", "unipc"},
    {"dpmsolver", "dpm-2m"},
    {"dpmsolverpp", "dpmpp-2m"},
    {"dpmsolvermultistep", "dpmpp-2m"},
    {"dpmsolversinglestep", "dpmpp-2s"},
    {"dpmpp2msde", "sde-dpmpp"},
    {"sdedpmsolverpp", "sde-dpmpp"},
    {"dpm2discrete", "kdpm2"},
    {"dpm2ancestral", "kdpm2-ancestral"},
    {"dpm2ancestraldiscrete", "kdpm2-ancestral"},
    {"dpm2a", "kdpm2-ancestral"},
    {"cmstochasticiterative", "consistency"},
    {"unipcmultistep", "unipc"},
    {"deismultistep", "deis"},
    {"lmsdiscrete", "lms"},
    {"edmeuler", "euler"},
    {"edmheun", "edm"},
    {"edmdpmsolvermultistep", "dpmpp-2m"},
    {"dopri5", "rk45"},
    {"rhoab", "deis-rho"},
    {"tab", "deis-t"},
    {"em", "euler-maruyama"},
    {"ancestral", "ddpm"},
    {"quasitaylor", "taylor"},
    {"quasiitotaylor", "ito-taylor"},
};

static const char *find_other(const struct other *table, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].theirs, name) == 0) return table[i].ours;
    return NULL;
}

const char *solver_guess(const char *name) {
    char whole[LONGEST], simple[LONGEST], known[LONGEST];
    const struct solver *solver;
    simplify(name, whole);
    strip(strcpy(simple, whole));
    const char *found = NULL;
    if (strcmp(simple, whole) != 0)
        found = find_other(of_another_tool, sizeof of_another_tool / sizeof *of_another_tool, simple);
    if (found) return found;
    for (size_t i = 0; (solver = solver_at(i)); i++) {
        simplify(solver->name, known);
        if (strcmp(known, whole) == 0 || strcmp(known, simple) == 0) return solver->name;
    }
    if ((found = find_other(others, sizeof others / sizeof *others, simple))) return found;
    size_t count = 0;
    while (solver_at(count)) count++;
    const char *names[count + 1];
    for (size_t i = 0; i < count; i++) names[i] = solver_at(i)->name;
    names[count] = NULL;
    return text_nearest(name, names);
}
