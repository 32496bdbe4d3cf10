/* The text of a job, from a file or a pipe. */
#include "config/source.h"

#include "base/files.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIPE_MOST = 64 << 20 }; /* bytes */

static char *kept; /* what came through the pipe; freed by the process's end */
static size_t kept_size;

/* All that its writers write until the last one closes it. A FIFO that nobody has open for writing is empty, not waited
 * for. */
static int read_pipe(int fd, const char *path, struct error *err) {
    struct pollfd input = {.fd = fd, .events = POLLIN};
    char *text = NULL;
    size_t size = 0;
    for (;;) {
        char *larger = size < PIPE_MOST ? realloc(text, size + 65536 + 1) : NULL;
        if (!larger) {
            free(text);
            return size < PIPE_MOST
                       ? error_memory(err)
                       : error_set(err, CODE_DATA, "%s: expected a job of at most %d bytes", path, PIPE_MOST);
        }
        text = larger;
        ssize_t got = read(fd, text + size, 65536);
        if (got > 0) size += (size_t)got;
        if (got == 0) break;
        bool again = got > 0 || errno == EAGAIN;
        if (got < 0 && again) again = poll(&input, 1, -1) >= 0;
        if (again) continue;
        error_set(err, errno == EINTR ? CODE_AGAIN : CODE_IO, "cannot read %s: %s", path, strerror(errno));
        free(text);
        return -1;
    }
    text[size] = '\0';
    kept = text;
    kept_size = size;
    return 0;
}

static int from_pipe(struct source *source, const char *path, struct error *err) {
    if (!kept) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
        int rc = read_pipe(fd, path, err);
        close(fd);
        if (rc != 0) return -1;
    }
    source->size = kept_size;
    if (!(source->text = malloc(kept_size + 1))) return error_memory(err);
    memcpy(source->text, kept, kept_size + 1);
    return 0;
}

int source_read(struct source *source, const char *path, struct error *err) {
    struct stat info;
    bool there;
    if (strcmp(path, "-") == 0) path = "/dev/stdin";
    *source = (struct source){0};
    if (file_look(path, &info, &there, err) != 0) return -1;
    bool pipe = there && S_ISFIFO(info.st_mode), nameless = pipe || strncmp(path, "/dev/", strlen("/dev/")) == 0;
    source->name = nameless ? "job" : path;
    source->folder = nameless ? strdup(".") : path_folder(path);
    int rc = !source->folder ? error_memory(err)
             : pipe          ? from_pipe(source, path, err)
                             : file_read(path, &source->text, &source->size, err);
    if (rc != 0) source_release(source);
    return rc;
}

void source_release(struct source *source) {
    free(source->text);
    free(source->folder);
    *source = (struct source){0};
}
