/* Temporaries of killed processes: which are nobody's any more, and their removal. */
#include "base/stale.h"

#include "base/draft.h"
#include "base/files.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Does process pid run this very program? False for a zombie and for a stranger that got the number anew. */
static bool runs_this_program(long pid) {
    char link[64], ours[4096], theirs[4096];
    snprintf(link, sizeof link, "/proc/%ld/exe", pid);
    ssize_t length = readlink("/proc/self/exe", ours, sizeof ours), other = readlink(link, theirs, sizeof theirs);
    return length > 0 && other >= length && memcmp(ours, theirs, (size_t)length) == 0;
}

/* ".NAME.tmp-HOST-PID-COUNT": false when it is no temporary. */
static bool parse_temporary(const char *name, char host[256], long *pid) {
    const char *mark = name[0] == '.' ? strstr(name, ".tmp-") : NULL, *owner = mark ? mark + strlen(".tmp-") : "";
    const char *count = strrchr(owner, '-'), *process = count; /* a host's name may have dashes of its own */
    while (process && process > owner && *--process != '-') {}
    if (!process || process <= owner || process - owner > 255) return false;
    snprintf(host, 256, "%.*s", (int)(process - owner), owner);
    *pid = strtol(process + 1, NULL, 10);
    return true;
}

/* The time by the clock that stamps the folder's files, which may be another host's; 0 when it cannot be told. */
static time_t folder_time(const char *folder) {
    struct stat info = {.st_mtime = 0};
    char *probe = draft_temporary(folder, "clock");
    int fd = probe ? open(probe, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
    if (fd >= 0) {
        if (fstat(fd, &info) != 0) info.st_mtime = 0;
        close(fd);
        unlink(probe);
    }
    free(probe);
    return info.st_mtime;
}

/* Is the temporary `name` one that nobody will finish any more? */
static bool is_stale(const char *folder, const char *name, stale_judge *judge, const void *context) {
    char host[256], ours[256] = "host";
    long pid;
    if (!parse_temporary(name, host, &pid)) return false;
    enum file_owner owner = judge ? judge(context, host, pid) : OWNER_UNKNOWN;
    if (owner == OWNER_ALIVE) return false;
    gethostname(ours, sizeof ours - 1);
    if (strcmp(host, ours) == 0) return !runs_this_program(pid);
    if (owner == OWNER_DEAD) return true;
    struct stat info;
    char *path = path_join(folder, name);
    bool old = path && stat(path, &info) == 0 && folder_time(folder) - info.st_mtime > 3600;
    free(path);
    return old;
}

/* prefix: how the temporaries' names begin. */
static int remove_stale(const char *folder, const char *prefix, stale_judge *judge, const void *context,
                        struct error *err) {
    DIR *dir = opendir(folder);
    if (!dir) return file_absent(errno) ? 0 : error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (errno = 0, entry = readdir(dir));) {
        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || !is_stale(folder, entry->d_name, judge, context))
            continue;
        char *path = path_join(folder, entry->d_name);
        rc = path ? tree_remove(path, err) : error_memory(err);
        free(path);
    }
    if (rc == 0 && errno != 0) rc = error_set(err, CODE_IO, "cannot list %s: %s", folder, strerror(errno));
    closedir(dir);
    return rc;
}

int stale_remove(const char *folder, stale_judge *judge, const void *context, struct error *err) {
    return remove_stale(folder, ".", judge, context, err);
}

int stale_remove_path(const char *path, struct error *err) {
    const char *slash = strrchr(path, '/');
    char *folder = path_folder(path), *prefix = text_new("." DRAFT_NAME ".tmp-", slash ? slash + 1 : path);
    int rc = folder && prefix ? remove_stale(folder, prefix, NULL, NULL, err) : error_memory(err);
    free(prefix);
    free(folder);
    return rc;
}
