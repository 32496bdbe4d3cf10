"""qtaylor for Spack: its main branch, of the clone that this file stands in."""
import os

from spack.package import depends_on, version

try:  # since Spack 1.0
    from spack_repo.builtin.build_systems.makefile import MakefilePackage
except ImportError:
    from spack.package import MakefilePackage

HERE = os.path.realpath(os.path.dirname(__file__))


class Qtaylor(MakefilePackage):
    """Makes the samples of a diffusion or flow model on a cluster, and their FID."""

    git = "file://" + os.path.abspath(os.path.join(HERE, "../../../.."))

    version("main", branch="main")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("mpi")
    depends_on("py-torch@2.6:")
    depends_on("openblas")
    for library in ("zstd", "jansson", "libfyaml", "random123", "openssl", "libzip", "libspng", "libdeflate",
                    "libjpeg-turbo", "libwebp", "nlopt"):
        depends_on(library)

    @property
    def build_targets(self):
        """Variables of the Makefile. Spack's OpenBLAS has LAPACKE inside; static, as the Makefile says."""
        torch = os.path.abspath(os.path.join(self.spec["py-torch"].package.cmake_prefix_paths[0], "../.."))
        blas = "-Wl,--exclude-libs,ALL -Wl,-Bstatic -lopenblas -Wl,-Bdynamic -l:libgfortran.so.5"
        return [f"LIBTORCH={torch}", f"MPICC={self.spec['mpi'].mpicc}", f"BLAS={blas}", "PYTHON=python3"]

    @property
    def install_targets(self):
        return ["install", f"PREFIX={self.prefix}", *self.build_targets]
