/* The fake process and its devices: nothing, or what the environment says (fake_inside.h). */
#include "fake_inside.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int fake_fail(char *error, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, SHIM_ERROR, format, arguments);
    va_end(arguments);
    return -1;
}

int shim_start(int allow_tf32, char *error) {
    (void)allow_tf32;
    (void)error;
    return 0;
}

const char *shim_describe(void) {
    return "fake (closed-form models)";
}

const char *shim_forms(void) {
    return "closed forms (JSON)";
}

void shim_describe_device(int device, char *text, int capacity) {
    const char *machine = getenv("QTAYLOR_FAKE_MACHINE");
    (void)device;
    snprintf(text, (size_t)capacity, "fake%s%s", machine ? ", " : "", machine ? machine : "");
}

int shim_device_count(void) {
    const char *count = getenv("QTAYLOR_FAKE_DEVICES"), *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!count || !visible) return count ? (int)strtol(count, NULL, 10) : 0;
    int devices = *visible != '\0';
    for (; *visible; visible++) devices += *visible == ',';
    return devices;
}

int shim_device_identity(int device, char *identity, int capacity, char *error) {
    (void)error;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES"), *node = getenv("SLURMD_NODENAME");
    for (int i = 0; visible && i < device && (visible = strchr(visible, ',')); i++) visible++;
    int number = visible ? (int)strtol(visible, NULL, 10) : device; /* of the node, as a UUID would tell */
    snprintf(identity, (size_t)capacity, "fake %s%s%d", node ? node : "", node ? " " : "", number);
    return 0;
}

int shim_thread_start(int device, char *error) {
    (void)device;
    (void)error;
    return 0;
}

int shim_torch_latent(int device, uint64_t seed, int count, float *out, int64_t classes, int64_t *label, char *error) {
    (void)device;
    (void)seed;
    (void)count;
    (void)out;
    (void)classes;
    (void)label;
    return fake_fail(error, "torch's random numbers need libtorch; this is the fake shim");
}
