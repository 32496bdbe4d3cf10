/* What the bodies of torch_shim.h over libtorch share: torch_process.cpp (the process, its devices and threads),
 * torch_model.cpp (networks; torch_script.cpp and torch_package.cpp load them, torch_graphs.cpp records their calls),
 * torch_registers.cpp. libtorch 2.6 and later, on CPUs and on CUDA devices. No CUDA headers but in torch_graphs.cpp:
 * devices and streams go through c10's generic interfaces, so that one source compiles against every build of libtorch.
 */
#ifndef TORCH_INSIDE_HPP
#define TORCH_INSIDE_HPP

#include "torch_shim.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

/* Arguments by name, in the order of the card. */
using Named = std::vector<std::pair<std::string, c10::IValue>>;

/* A network in one of its forms (torch_script.cpp, torch_package.cpp). Several threads may call it at a time. */
struct shim_model {
    shim_model(c10::Device on, const char *name) : device(on), path(name) {}
    virtual ~shim_model() = default;
    virtual c10::IValue forward(std::vector<c10::IValue> inputs, const Named &named = {}) = 0;
    virtual bool takes(const char *argument) const = 0; /* by name */

    c10::Device device;
    std::string path;
    c10::ScalarType weights = c10::ScalarType::Float; /* where they are not float32: theirs */
    std::atomic<int> channels{0};
};

/* A file's bytes, which are released with the last of these that are shared. */
class file_bytes {
  public:
    explicit file_bytes(const shim_file &file)
        : data(static_cast<const char *>(file.data)), size(file.size), release(file.release), owner(file.owner) {}
    ~file_bytes() {
        release(owner);
    }
    file_bytes(const file_bytes &) = delete;
    file_bytes &operator=(const file_bytes &) = delete;

    const char *const data;
    const size_t size;

  private:
    void (*release)(void *);
    void *owner;
};
using File = std::shared_ptr<const file_bytes>;

/* New. What is wrong with the file is thrown. */
shim_model *script_load(const File &file, const char *name, c10::Device device);
shim_model *package_load(const void *data, size_t size, const char *name, c10::Device device);
/* New, of a network on a GPU, which it owns from then on: its calls are recorded and replayed. */
shim_model *graphs_of(shim_model *model);
/* An AOTInductor package, rather than TorchScript. */
bool is_package(const void *data, size_t size);

/* ---- errors ---- */

/* error = "where: what"; returns -1. The interpreter's errors are a traceback of the model's code before the error
 * itself, others have advice for programmers of libtorch after it: only the line with the error is kept. */
int failed(char *error, const char *where, const char *message) noexcept;

/* Runs body() without gradients; whatever it throws becomes error and -1. */
template <typename Body> int guarded(char *error, const char *where, Body body) noexcept {
    try {
        c10::InferenceMode without_gradients;
        body();
        return 0;
    } catch (const c10::Error &thrown) {
        return failed(error, where, thrown.what_without_backtrace());
    } catch (const std::exception &thrown) { return failed(error, where, thrown.what()); } catch (...) {
        return failed(error, where, "libtorch threw something that is no exception");
    }
}

/* The same for a call of a model. Ours gives float32, whatever its weights are. */
template <typename Body> int calling(const shim_model &model, char *error, Body body) noexcept {
    int rc = guarded(error, model.path.c_str(), body);
    size_t length = rc == 0 ? 0 : std::strlen(error);
    if (rc != 0 && model.weights != at::kFloat && std::strstr(error, "type"))
        std::snprintf(error + length, SHIM_ERROR - length,
                      "; its weights are %s, and x is Float: export a network that casts inside forward (x.to(its "
                      "type), and its output .float())",
                      c10::toString(model.weights));
    return rc;
}

template <typename... Parts> [[noreturn]] void refuse(const Parts &...parts) {
    std::ostringstream message;
    (message << ... << parts);
    throw std::runtime_error(message.str());
}

/* ---- devices and tensors ---- */

c10::Device device_of(int index);           /* SHIM_CPU or an index; one that is not there is refused */
std::string compute_capability(int device); /* "90"; empty where the driver does not say */

inline std::vector<int64_t> sizes_of(const shim_shape &shape) {
    return {shape.batch, shape.channels, shape.height, shape.width};
}

/* A view of the caller's memory. Tensors know no const: of what the caller gave as const, only copies are made. */
inline at::Tensor host_view(const void *values, at::IntArrayRef sizes, at::ScalarType type) {
    return at::from_blob(const_cast<void *>(values), sizes, at::TensorOptions(type));
}

/* A copy on the device: aligned by libtorch, and the model may write over it. */
inline at::Tensor copy_to(c10::Device device, const at::Tensor &host) {
    return host.to(device, host.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

/* [B] on the device; undefined without labels. */
inline at::Tensor labels_on(c10::Device device, int batch, const int64_t *labels) {
    return labels ? copy_to(device, host_view(labels, {batch}, at::kLong)) : at::Tensor();
}

/* What a network gets besides x and t, on its device. labels may be undefined. */
struct Given {
    at::Tensor labels;
    Named inputs;
};
Given given_on(c10::Device device, int batch, const shim_condition &condition);

/* [B,>=C,H,W] on the model's device, in the model's output type. */
at::Tensor diffuse(shim_model &model, const at::Tensor &x, const shim_shape &shape, const shim_condition &condition,
                   const Given &given);

#endif
