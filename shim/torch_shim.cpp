/* torch_shim.h over libtorch (2.6 and later), on CPUs and on CUDA devices. No CUDA headers: devices and streams go
 * through c10's generic interfaces, so that one source compiles against every build of libtorch. */
#include "torch_shim.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <caffe2/serialize/read_adapter_interface.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <limits>
#include <malloc.h>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

struct shim_model {
    torch::jit::Module module;
    c10::Device device;
    std::string path;
    c10::ScalarType weights; /* where they are not float32: theirs */
    std::atomic<int> channels{0};
};

namespace {

/* ---- errors ---- */

/* error = "where: what". The interpreter's errors are a traceback of the model's code before the error itself, others
 * have advice for programmers of libtorch after it: only the line with the error is kept. */
int failed(char *error, const char *where, const char *message) noexcept {
    std::string_view text(message);
    size_t name = text.rfind("Error: ");
    if (name != std::string_view::npos) text.remove_prefix(text.rfind('\n', name) + 1); /* npos + 1 is 0 */
    text = text.substr(0, text.find('\n'));
    if (text.size() > 200) text = text.substr(0, text.find(". ")); /* what follows guesses at causes, at length */
    std::snprintf(error, SHIM_ERROR, "%s: %.*s", where, static_cast<int>(text.size()), text.data());
    return -1;
}

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

/* ---- the process ---- */

/* A model allocates and frees the same activations at every call. glibc would give their pages back to the kernel and
 * fault them in again each time: an eighth of the time of a small model (jobs/digits). */
void keep_freed_memory() {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 32 << 20); /* the largest it takes; one of the two alone makes things worse */
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
#endif
}

/* Two OpenMP runtimes in one process share no thread counts: workers would run over each other. */
void refuse_two_openmp_runtimes() {
    std::ifstream maps("/proc/self/maps");
    std::set<std::string> runtimes;
    for (std::string line; std::getline(maps, line);) {
        size_t path = line.find('/'), name = line.rfind('/') + 1;
        if (path == std::string::npos) continue;
        for (const char *runtime : {"libgomp", "libiomp5", "libomp"})
            if (line.compare(name, std::strlen(runtime), runtime) == 0) runtimes.insert(line.substr(path));
    }
    if (runtimes.size() < 2) return;
    std::ostringstream list;
    for (const std::string &path : runtimes) list << (list.tellp() > 0 ? " and " : "") << path;
    refuse("this process has ", runtimes.size(), " OpenMP runtimes, expected one: ", list.str(),
           "; build against a libtorch that uses the system's libgomp.so.1, and preload neither");
}

int cuda_devices() noexcept {
    return c10::impl::hasDeviceGuardImpl(c10::kCUDA) ? c10::impl::VirtualGuardImpl(c10::kCUDA).deviceCount() : 0;
}

c10::Device device_of(int index) {
    if (index == SHIM_CPU) return c10::Device(c10::kCPU);
    if (index < 0 || index >= cuda_devices())
        refuse("CUDA device ", index, " is asked for, but this process sees ", cuda_devices(), ": ", shim_describe());
    return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

/* The driver's UUID of a device (of a MIG instance too); empty where the driver does not say. */
std::string device_uuid(int index) {
    using Uuid = std::array<unsigned char, 16>;
    using GetDevice = int (*)(int *, int);
    using GetUuid = int (*)(Uuid *, int);
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD); /* libtorch has loaded and initialised it */
    if (!driver) return "";
    auto get_device = reinterpret_cast<GetDevice>(dlsym(driver, "cuDeviceGet"));
    auto get_uuid = reinterpret_cast<GetUuid>(dlsym(driver, "cuDeviceGetUuid_v2"));
    int device = 0;
    Uuid uuid{};
    bool known = get_device && get_uuid && get_device(&device, index) == 0 && get_uuid(&uuid, device) == 0;
    dlclose(driver);
    std::string text;
    for (size_t i = 0; known && i < uuid.size(); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
        text += "0123456789abcdef"[uuid[i] >> 4];
        text += "0123456789abcdef"[uuid[i] & 15];
    }
    return text;
}

std::string device_name(int index) {
    using GetDevice = int (*)(int *, int);
    using GetName = int (*)(char *, int, int);
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (!driver) return "a GPU";
    auto get_device = reinterpret_cast<GetDevice>(dlsym(driver, "cuDeviceGet"));
    auto get_name = reinterpret_cast<GetName>(dlsym(driver, "cuDeviceGetName"));
    int device = 0;
    std::array<char, 64> name{};
    bool named = get_device && get_name && get_device(&device, index) == 0 &&
                 get_name(name.data(), static_cast<int>(name.size()), device) == 0;
    dlclose(driver);
    return named ? name.data() : "a GPU";
}

std::string cuda_version() { /* ", CUDA 13.0", or "" in a build without */
    if (!at::detail::getCUDAHooks().hasCUDA()) return "";
    long version = at::detail::getCUDAHooks().versionCUDART();
    return ", CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

/* A file's bytes, in memory. */
class memory_reader : public caffe2::serialize::ReadAdapterInterface {
  public:
    memory_reader(const void *data, size_t size) : bytes(static_cast<const char *>(data)), count(size) {}
    size_t size() const override {
        return count;
    }
    size_t read(uint64_t from, void *buffer, size_t wanted, const char *) const override {
        size_t got = from < count ? std::min<size_t>(wanted, count - from) : 0;
        if (got > 0) std::memcpy(buffer, bytes + from, got);
        return got;
    }

  private:
    const char *bytes;
    size_t count;
};

/* ---- tensors ---- */

std::vector<int64_t> sizes_of(const shim_shape &shape) {
    return {shape.batch, shape.channels, shape.height, shape.width};
}

/* A view of the caller's memory. Tensors know no const: of what the caller gave as const, only copies are made. */
at::Tensor host_view(const void *values, at::IntArrayRef sizes, at::ScalarType type) {
    return at::from_blob(const_cast<void *>(values), sizes, at::TensorOptions(type));
}

/* A copy on the device: aligned by libtorch, and the model may write over it. */
at::Tensor copy_to(c10::Device device, const at::Tensor &host) {
    return host.to(device, host.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
}

at::Tensor time_tensor(c10::Device device, int batch, const shim_condition &condition) {
    if (condition.integer_time)
        return at::full({batch}, static_cast<int64_t>(condition.time), at::TensorOptions(at::kLong).device(device));
    return at::full({batch}, condition.time, at::TensorOptions(at::kFloat).device(device));
}

at::Tensor floats(const c10::IValue &output) {
    if (!output.isTensor())
        refuse("the model returned ", output.tagKind(), ", expected a tensor; export a model that gives one");
    at::Tensor tensor = output.toTensor();
    if (!tensor.is_floating_point())
        refuse("the model's output is of type ", tensor.scalar_type(), ", expected floating point");
    return tensor;
}

/* [B,>=C,H,W] on the model's device, in the model's output type. labels may be undefined. */
at::Tensor diffuse(shim_model &model, const at::Tensor &x, const shim_shape &shape, const shim_condition &condition,
                   const at::Tensor &labels) {
    std::vector<c10::IValue> inputs{x, time_tensor(model.device, shape.batch, condition)};
    if (labels.defined()) inputs.emplace_back(labels);
    at::Tensor out = floats(model.module.forward(std::move(inputs)));
    bool fits = out.dim() == 4 && out.size(0) == shape.batch && out.size(1) >= shape.channels &&
                out.size(2) == shape.height && out.size(3) == shape.width;
    if (!fits)
        refuse("the model's output is ", out.sizes(), " for an input of ", x.sizes(),
               ": expected the same, or more channels; the model card's shape may be wrong");
    if (condition.channels > 0 && out.size(1) != condition.channels)
        refuse("the model's output is ", out.sizes(), ", expected ", condition.channels,
               " channels, half of them variance, as the model card says");
    model.channels.store(static_cast<int>(out.size(1)), std::memory_order_relaxed);
    return out;
}

/* ---- feature networks ---- */

/* One output of what forward returned, by its place among `count` or its name. */
at::Tensor pick(const c10::IValue &returned, const shim_output &output, int place, int count) {
    if (returned.isTuple()) {
        const std::vector<c10::IValue> &elements = returned.toTupleRef().elements().vec();
        if (elements.size() != static_cast<size_t>(count))
            refuse("the network returned ", elements.size(), " tensors, its description names ", count);
        return floats(elements[static_cast<size_t>(place)]);
    }
    if (returned.isGenericDict()) {
        c10::Dict<c10::IValue, c10::IValue> dictionary = returned.toGenericDict();
        if (!dictionary.contains(std::string(output.name))) refuse("the network returned no `", output.name, "`");
        return floats(dictionary.at(std::string(output.name)));
    }
    if (count != 1) refuse("the network returned one tensor, its description names ", count);
    return floats(returned);
}

bool takes(const shim_model &model, const char *argument) {
    return model.module.get_method("forward").function().getSchema().argumentIndexWithName(argument).has_value();
}

/* The file that FIDs are published with answers one question at a time. */
at::Tensor ask_inception(shim_model &model, const at::Tensor &images, const shim_output &output) {
    bool pool = std::strcmp(output.name, "pool") == 0;
    torch::jit::Kwargs named{{pool ? "return_features" : "no_output_bias", true}};
    at::Tensor answer = floats(model.module.forward({images}, named));
    /* A float's softmax may underflow to 0; the least float has as good as no part in any sum of p log p, and its log
     * is finite. */
    return pool ? answer : answer.clamp_min(std::numeric_limits<float>::denorm_min()).log();
}

at::Tensor labels_on(c10::Device device, int batch, const int64_t *labels) {
    return labels ? copy_to(device, host_view(labels, {batch}, at::kLong)) : at::Tensor();
}

} // namespace

extern "C" {

/* ---- the process and its threads ---- */

int shim_start(int allow_tf32, char *error) {
    return guarded(error, "libtorch", [&] {
        refuse_two_openmp_runtimes();
        keep_freed_memory();
        setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0); /* without it cuBLAS is not deterministic, and torch refuses */
        at::Context &context = at::globalContext();
        context.setDeterministicAlgorithms(true, /*warn_only=*/false);
        context.setDeterministicFillUninitializedMemory(false); /* we never read what was not written */
        context.setDeterministicCuDNN(true);
        context.setBenchmarkCuDNN(false);
        context.setAllowTF32CuDNN(allow_tf32 != 0);
        context.setAllowTF32CuBLAS(allow_tf32 != 0);
        /* Specialising a model during its first runs stalls, and the first runs would differ from later ones in their
         * last bits: an empty strategy means one plan, made once, for every run. */
        torch::jit::FusionStrategy no_specialisation;
        torch::jit::setFusionStrategy(no_specialisation);
        if (at::get_num_interop_threads() != 1) at::set_num_interop_threads(1);
    });
}

const char *shim_describe(void) {
    static const std::string line = [] {
        try {
            return "libtorch " TORCH_VERSION " (cpu " + at::get_cpu_capability() + cuda_version() + ")";
        } catch (...) { return std::string("libtorch " TORCH_VERSION); }
    }();
    return line.c_str();
}

void shim_describe_device(int device, char *text, int capacity) {
    std::snprintf(text, static_cast<size_t>(capacity), "libtorch " TORCH_VERSION);
    try {
        std::string on = device == SHIM_CPU ? "cpu " + at::get_cpu_capability() : device_name(device) + cuda_version();
        std::snprintf(text, static_cast<size_t>(capacity), "libtorch " TORCH_VERSION ", %s", on.c_str());
    } catch (...) { /* the version alone, then */
    }
}

int shim_device_count(void) {
    return cuda_devices();
}

int shim_device_identity(int device, char *identity, int capacity, char *error) {
    return guarded(error, "device", [&] {
        std::string name = device_uuid(device_of(device).index());
        if (name.empty()) {
            std::array<char, 256> host{};
            gethostname(host.data(), host.size() - 1);
            const char *visible = std::getenv("CUDA_VISIBLE_DEVICES");
            name = "cuda:" + std::to_string(device) + " of " + (visible ? visible : "all") + " on " + host.data();
        }
        std::snprintf(identity, static_cast<size_t>(capacity), "%s", name.c_str());
    });
}

int shim_thread_start(int device, char *error) {
    return guarded(error, "device", [&] {
        at::set_num_threads(1); /* of this thread: many workers with one thread each beat one worker with many */
        if (device == SHIM_CPU) return;
        c10::Device gpu = device_of(device);
        c10::impl::VirtualGuardImpl cuda(c10::kCUDA);
        cuda.setDevice(gpu);
        cuda.exchangeStream(cuda.getNewStream(gpu));
    });
}

/* ---- models ---- */

int shim_model_load(struct shim_model **model, const void *data, size_t size, const char *name, int device,
                    char *error) {
    *model = nullptr;
    char where[SHIM_ERROR];
    std::snprintf(where, sizeof where, "%s: cannot be loaded as a TorchScript file", name);
    return guarded(error, where, [&] {
        c10::InferenceMode parameters_are_plain_tensors(false);
        torch::jit::Module module = torch::jit::load(std::make_shared<memory_reader>(data, size), device_of(device));
        module.eval();
        *model = new shim_model{std::move(module), device_of(device), name, at::kFloat};
        for (const at::Tensor &weight : (*model)->module.parameters())
            if (weight.is_floating_point() && weight.scalar_type() != at::kFloat)
                (*model)->weights = weight.scalar_type();
    });
}

int shim_model_channels(const struct shim_model *model) {
    return model->channels.load(std::memory_order_relaxed);
}

void shim_model_free(struct shim_model *model) {
    delete model;
}

int shim_model_run(struct shim_model *model, const float *x, struct shim_shape shape,
                   const struct shim_condition *condition, float *out, float *variance, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(model->device);
        std::vector<int64_t> sizes = sizes_of(shape);
        at::Tensor input = copy_to(model->device, host_view(x, sizes, at::kFloat));
        at::Tensor labels = labels_on(model->device, shape.batch, condition->labels);
        at::Tensor both = diffuse(*model, input, shape, *condition, labels);
        host_view(out, sizes, at::kFloat).copy_(both.narrow(1, 0, shape.channels));
        if (variance) host_view(variance, sizes, at::kFloat).copy_(both.narrow(1, shape.channels, shape.channels));
    });
}

int shim_decoder_run(struct shim_model *model, const float *latents, struct shim_shape latent, struct shim_shape image,
                     float *images, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(model->device);
        at::Tensor input = copy_to(model->device, host_view(latents, sizes_of(latent), at::kFloat));
        at::Tensor out = floats(model->module.forward({input}));
        std::vector<int64_t> sizes = sizes_of(image);
        if (out.sizes() != at::IntArrayRef(sizes))
            refuse("its output is ", out.sizes(), " for latents of ", input.sizes(), ", expected ",
                   at::IntArrayRef(sizes), ", as its decoder.json says");
        host_view(images, sizes, at::kFloat).copy_(out);
    });
}

int shim_features_run(struct shim_model *model, const void *images, int is_uint8, struct shim_shape shape,
                      const struct shim_output *outputs, int count, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(model->device);
        at::Tensor host = host_view(images, sizes_of(shape), is_uint8 ? at::kByte : at::kFloat);
        at::Tensor input = copy_to(model->device, host);
        bool inception = takes(*model, "return_features") && takes(*model, "no_output_bias");
        c10::IValue returned;
        if (!inception) returned = model->module.forward({input});
        for (int i = 0; i < count; i++) {
            const shim_output &output = outputs[i];
            if (!output.values) continue;
            at::Tensor found = inception ? ask_inception(*model, input, output) : pick(returned, output, i, count);
            std::array<int64_t, 2> expected{shape.batch, output.dim};
            if (found.dim() < 2 || found.size(0) != expected[0] || found.numel() != expected[0] * expected[1])
                refuse("`", output.name, "` is ", found.sizes(), ", expected ", at::IntArrayRef(expected));
            host_view(output.values, expected, at::kFloat).copy_(found.reshape(expected));
        }
    });
}

/* ---- registers ---- */

struct shim_registers {
    shim_shape shape;
    c10::Device device;
    std::vector<at::Tensor> tensors;
    std::vector<int64_t> labels; /* those of the last call, which are those of most next calls, ... */
    at::Tensor labels_on_device; /* ... so that they need no copy, which would wait for the device */

    at::Tensor &operator[](int number) {
        if (number < 0 || number >= static_cast<int>(tensors.size()))
            refuse("there is no register ", number, ", only 0 to ", tensors.size() - 1);
        return tensors[static_cast<size_t>(number)];
    }
};

int shim_registers_new(struct shim_registers **registers, int device, int count, struct shim_shape shape,
                       int is_float64, char *error) {
    *registers = nullptr;
    return guarded(error, "registers", [&] {
        c10::Device on = device_of(device);
        at::TensorOptions options = at::TensorOptions(is_float64 ? at::kDouble : at::kFloat).device(on);
        std::vector<at::Tensor> tensors;
        for (int i = 0; i < count; i++) tensors.push_back(at::empty(sizes_of(shape), options));
        *registers = new shim_registers{shape, on, std::move(tensors), {}, {}};
    });
}

void shim_registers_free(struct shim_registers *registers) {
    delete registers;
}

int shim_registers_set(struct shim_registers *registers, int dst, const double *host, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        (*registers)[dst].copy_(host_view(host, sizes_of(registers->shape), at::kDouble));
    });
}

int shim_registers_get(struct shim_registers *registers, int src, double *host, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        host_view(host, sizes_of(registers->shape), at::kDouble).copy_((*registers)[src]);
    });
}

/* Multiply, then add: add_ with a coefficient would round once, the loop on the host rounds twice. */
int shim_registers_lincomb(struct shim_registers *registers, int dst, int count, const double *coefficients,
                           const int *sources, int first, int beyond, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor sum = at::zeros({}, (*registers)[dst].options()).expand(sizes_of(registers->shape));
        for (int i = 0; i < count; i++) {
            at::Tensor term = at::mul((*registers)[sources[i]], coefficients[i]);
            sum = i == 0 ? term : sum.add_(term);
        }
        if (beyond > 0) {
            at::Tensor whole = (*registers)[sources[0]].clone();
            whole.narrow(1, first, beyond - first).copy_(sum.narrow(1, first, beyond - first));
            sum = whole;
        }
        (*registers)[dst].copy_(sum);
    });
}

int shim_registers_clamp(struct shim_registers *registers, int dst, double low, double high, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        (*registers)[dst].clamp_(low, high);
    });
}

int shim_registers_rescale(struct shim_registers *registers, int dst, int src, int like, double phi, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor x = (*registers)[src];
        auto spread = [](const at::Tensor &of) {
            return of.flatten(1).std(1, /*unbiased=*/true, /*keepdim=*/true).reshape({-1, 1, 1, 1});
        };
        at::Tensor own = spread(x), factor = phi * spread((*registers)[like]) / own + (1 - phi);
        (*registers)[dst].copy_(x * at::where(own > 0, factor, at::ones_like(factor)));
    });
}

int shim_registers_mulexp(struct shim_registers *registers, int dst, int src, double a, double b, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        (*registers)[dst].mul_(at::mul((*registers)[src], b).add_(a).exp_());
    });
}

/* By sorting: at::quantile takes no more than 16 million values. */
int shim_registers_threshold(struct shim_registers *registers, int dst, double quantile, double low, double high,
                             char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor x = (*registers)[dst], sorted = std::get<0>(x.flatten(1).abs().sort(1));
        double place = quantile * static_cast<double>(sorted.size(1) - 1), part = place - std::floor(place);
        at::Tensor s = sorted.select(1, static_cast<int64_t>(place));
        if (part > 0) s = s + part * (sorted.select(1, static_cast<int64_t>(place) + 1) - s);
        s = s.clamp(low, high).reshape({-1, 1, 1, 1});
        x.copy_(at::clamp(x, -s, s) * (low / s));
    });
}

int shim_registers_project(struct shim_registers *registers, int dst, int src, int onto, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor y = (*registers)[onto];
        auto dot = [&](const at::Tensor &of) { return (of * y).flatten(1).sum(1).reshape({-1, 1, 1, 1}); };
        at::Tensor square = dot(y), factor = dot((*registers)[src]) / square;
        (*registers)[dst].copy_(at::where(square > 0, factor, at::zeros_like(factor)) * y);
    });
}

int shim_registers_limit(struct shim_registers *registers, int dst, double norm, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor x = (*registers)[dst], own = (x * x).flatten(1).sum(1).sqrt().reshape({-1, 1, 1, 1});
        x.mul_(at::where(own > norm, norm / own, at::ones_like(own)));
    });
}

int shim_registers_eval(struct shim_registers *registers, struct shim_model *model, int dst, int dst2, int src,
                        const struct shim_condition *condition, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(registers->device);
        const int64_t *labels = condition->labels;
        int batch = registers->shape.batch;
        if (labels && !std::equal(labels, labels + batch, registers->labels.begin(), registers->labels.end())) {
            registers->labels_on_device = labels_on(registers->device, batch, labels);
            registers->labels.assign(labels, labels + batch);
        }
        at::Tensor x = (*registers)[src].to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
        at::Tensor given = labels ? registers->labels_on_device : at::Tensor();
        at::Tensor out = diffuse(*model, x, registers->shape, *condition, given);
        int channels = registers->shape.channels;
        (*registers)[dst].copy_(out.narrow(1, 0, channels).to(at::kFloat));
        if (dst2 >= 0) (*registers)[dst2].copy_(out.narrow(1, channels, channels).to(at::kFloat));
    });
}

/* ---- torch's own random numbers ---- */

int shim_torch_latent(int device, uint64_t seed, int count, float *out, int64_t classes, int64_t *label, char *error) {
    return guarded(error, "torch's random numbers", [&] {
        c10::Device on = device_of(device);
        at::Generator generator = at::globalContext().defaultGenerator(on).clone();
        generator.set_current_seed(seed);
        at::Tensor normals = at::randn({count}, generator, at::TensorOptions(at::kFloat).device(on));
        host_view(out, {count}, at::kFloat).copy_(normals);
        if (classes <= 0) return;
        at::Tensor drawn = at::randint(classes, {}, generator, at::TensorOptions(at::kLong).device(on));
        if (label) *label = drawn.item<int64_t>();
    });
}

} // extern "C"
