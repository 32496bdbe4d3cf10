/* The process, its devices and threads, and torch's own random numbers. */
#include "torch_inside.hpp"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/version.h>

#include <array>
#include <climits>
#include <cstdlib>
#include <dlfcn.h>
#include <fstream>
#include <malloc.h>
#include <set>
#include <string_view>
#include <unistd.h>

int failed(char *error, const char *where, const char *message) noexcept {
    std::string_view text(message);
    size_t name = text.rfind("Error: ");
    if (name != std::string_view::npos) text.remove_prefix(text.rfind('\n', name) + 1); /* npos + 1 is 0 */
    text = text.substr(0, text.find('\n'));
    if (text.size() > 200) text = text.substr(0, text.find(". ")); /* what follows guesses at causes, at length */
    std::snprintf(error, SHIM_ERROR, "%s: %.*s", where, static_cast<int>(text.size()), text.data());
    return -1;
}

static int cuda_devices() noexcept {
    return c10::impl::hasDeviceGuardImpl(c10::kCUDA) ? c10::impl::VirtualGuardImpl(c10::kCUDA).deviceCount() : 0;
}

c10::Device device_of(int index) {
    if (index == SHIM_CPU) return c10::Device(c10::kCPU);
    if (index < 0 || index >= cuda_devices())
        refuse("CUDA device ", index, " is asked for, but this process sees ", cuda_devices(), ": ", shim_describe());
    return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(index));
}

namespace {

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

/* "2.13.0" of the libtorch that was loaded; the headers' where it does not say. */
std::string loaded_version() {
    static const std::string key = "TORCH_VERSION=";
    std::string config = at::show_config();
    size_t at = config.find(key);
    if (at == std::string::npos) return TORCH_VERSION;
    at += key.size();
    return config.substr(at, config.find_first_not_of("0123456789.", at) - at);
}

/* Another libtorch than the one compiled against has other layouts under the same names. */
void refuse_another_libtorch() {
    std::string loaded = loaded_version();
    if (loaded != TORCH_VERSION)
        refuse("version ", loaded,
               " is loaded, but this program was built for " TORCH_VERSION
               ": build it again, or take the other one out of LD_PRELOAD and LD_LIBRARY_PATH");
}

std::string cuda_version() { /* ", CUDA 13.0", or "" in a build without */
    if (!at::detail::getCUDAHooks().hasCUDART()) return "";
    long version = at::detail::getCUDAHooks().versionCUDART();
    return ", CUDA " + std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

} // namespace

std::string compute_capability(int index) {
    using GetDevice = int (*)(int *, int);
    using GetAttribute = int (*)(int *, int, int);
    enum { MAJOR = 75, MINOR = 76 }; /* CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_... */
    void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    if (!driver) return "";
    auto get_device = reinterpret_cast<GetDevice>(dlsym(driver, "cuDeviceGet"));
    auto get = reinterpret_cast<GetAttribute>(dlsym(driver, "cuDeviceGetAttribute"));
    int device = 0, major = 0, minor = 0;
    bool known = get_device && get && get_device(&device, index) == 0 && get(&major, MAJOR, device) == 0 &&
                 get(&minor, MINOR, device) == 0;
    dlclose(driver);
    return known ? std::to_string(10 * major + minor) : "";
}

extern "C" {

int shim_start(int allow_tf32, char *error) {
    return guarded(error, "libtorch", [&] {
        refuse_another_libtorch();
        refuse_two_openmp_runtimes();
        keep_freed_memory();
        setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0); /* without it cuBLAS is not deterministic, and torch refuses */
        setenv("AOTI_RUNTIME_CHECK_INPUTS", "1", 1); /* packages check the shapes they are given (torch_package.cpp) */
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
            return "libtorch " + loaded_version() + " (cpu " + at::get_cpu_capability() + cuda_version() +
                   (c10::impl::hasDeviceGuardImpl(c10::kCUDA) && cuda_devices() == 0 ? ", but no device)" : ")");
        } catch (...) { return std::string("libtorch " TORCH_VERSION); }
    }();
    return line.c_str();
}

const char *shim_forms(void) {
    return "TorchScript, AOTInductor packages";
}

void shim_describe_device(int device, char *text, int capacity) {
    std::snprintf(text, static_cast<size_t>(capacity), "libtorch " TORCH_VERSION); /* shim_start refuses others */
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
