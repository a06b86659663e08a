//! References to each of the C and C++ names that the library defines with the feature `override`.
//! Without them the linker would leave out what nothing calls by name, and a C++ library loaded
//! into the program would allocate from another heap than it frees to.

macro_rules! keep {
    ($($name:ident)*) => {
        extern "C" {
            $(fn $name();)*
        }
        #[used]
        static KEPT: [unsafe extern "C" fn(); [$(stringify!($name)),*].len()] = [$($name),*];
    };
}

// Only addresses are taken; the true signatures are libc's and the C++ ABI's.
#[allow(clashing_extern_declarations)]
mod kept {
    keep! {
        malloc free calloc realloc reallocarray memalign posix_memalign aligned_alloc valloc pvalloc
        malloc_usable_size free_sized free_aligned_sized malloc_trim malloc_stats mallinfo mallinfo2
        malloc_info mallopt
        _Znwm _Znam _ZnwmRKSt9nothrow_t _ZnamRKSt9nothrow_t _ZnwmSt11align_val_t
        _ZnamSt11align_val_t _ZnwmSt11align_val_tRKSt9nothrow_t _ZnamSt11align_val_tRKSt9nothrow_t
        _ZdlPv _ZdaPv _ZdlPvm _ZdaPvm _ZdlPvRKSt9nothrow_t _ZdaPvRKSt9nothrow_t
        _ZdlPvSt11align_val_t _ZdaPvSt11align_val_t _ZdlPvmSt11align_val_t _ZdaPvmSt11align_val_t
        _ZdlPvSt11align_val_tRKSt9nothrow_t _ZdaPvSt11align_val_tRKSt9nothrow_t
    }
}
