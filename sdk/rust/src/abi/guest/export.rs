//! The exported functions of a guest: one set of them in each component, so macros write them.

/// What every guest exports, whatever its kind.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_base {
    ($guest:ident, $component:ty) => {
        use $crate::abi::guest;
        static GUEST: guest::Global<guest::$guest<$component>> = guest::Global::new(guest::$guest::<$component>::nothing());

        // What the arena promises; its version.
        #[used]
        #[unsafe(link_section = "tidemill:arguments")]
        static ARGUMENTS: [u8; 1] = [1];

        #[unsafe(export_name = "cabi_realloc")]
        unsafe extern "C" fn realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
            unsafe { guest::realloc(old, old_size, align, new_size) }
        }

        #[unsafe(export_name = "describe")]
        extern "C" fn describe() -> *const u8 {
            guest::$guest::<$component>::describe().cast()
        }

        #[unsafe(export_name = "open")]
        unsafe extern "C" fn open(config: *const u8, length: usize) -> *const u8 {
            unsafe { GUEST.get().open((config, length)) }.cast()
        }
    };
}

/// What a pattern exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_pattern {
    ($component:ty) => {
        const _: () = {
            $crate::__export_base!(PatternGuest, $component);

            #[unsafe(export_name = "pattern")]
            extern "C" fn pattern() -> *const u8 {
                unsafe { GUEST.get() }.pattern().cast()
            }

    $crate::__export_calls!("judge" judge, "ask" ask, "shape" shape);
        };
    };
}

/// What a guest whose calls take nothing but a batch exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($guest:ident, $component:ty; $($main:literal $method:ident),+) => {
        const _: () = {
            $crate::__export_base!($guest, $component);
            $crate::__export_calls!($($main $method),+);
        };
    };
}

/// The exports that take a batch and nothing else.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_calls {
    ($($main:literal $method:ident),+) => {
        $($crate::__export_call!($main $method(; batch;) => GUEST.get().$method(batch));)+
    };
}

/// One export that takes a batch, and what comes before and behind it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_call {
    ($main:literal $method:ident($($before:ident: $before_type:ty)?; $batch:ident; $($behind:ident: $behind_type:ty),*) => $call:expr) => {
        #[unsafe(export_name = $main)]
        unsafe extern "C" fn $method(
            $($before: $before_type,)?
            rows: usize,
            columns: *const $crate::abi::bindings::Column,
            columns_length: usize,
            keys: usize,
            row_keys: u32,
            state: *const $crate::abi::bindings::Column,
            state_length: usize,
            data: *const u8,
            data_length: usize,
            $($behind: $behind_type,)*
        ) -> *const u8 {
            let $batch = guest::RawBatch {
                rows,
                columns: (columns, columns_length),
                keys,
                row_keys,
                state: (state, state_length),
                data: (data, data_length),
            };
            unsafe { $call }.cast()
        }
    };
}

/// What a process exports.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_process {
    ($component:ty) => {
        const _: () = {
            $crate::__export_base!(ProcessGuest, $component);
    $crate::__export_call!("wants" wants(subject: u32; batch;) => GUEST.get().wants(subject == 1, batch));
            $crate::__export_call!(
                "process" process(
                    subject: u32; batch;
                    entries: u32, found: *const $crate::abi::bindings::Column, found_length: usize
                ) => GUEST.get().process(subject == 1, batch, entries, (found, found_length))
            );
        };
    };
}
