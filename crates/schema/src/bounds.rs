//! How large anything of a schema may be. Each bound is far above what people write and far below
//! what would make the daemon slow or large: a schema over one of them is refused when it is
//! loaded, so that no event meets it.

/// Levels of objects and arrays in a sample, a schema, and in what a schema looks at of an event.
pub const DEPTH_MAX: usize = 64;

/// Bytes of one file of a folder.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Files of one folder: a schema, a patch and samples for each of three thousand types.
pub const FILES_MAX: usize = 10_000;

/// Bytes of all files of one folder that are read.
pub const FOLDER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of memory that the loaded schemas of one folder may take: those of some ten thousand types
/// with ten fields each. At a swap the old and the new ones are both there.
pub const CATALOG_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Samples of one type.
pub(crate) const SAMPLES_MAX: usize = 10_000;

/// Properties that one object of a shape may have by name, over all samples. More are names of
/// things, not of fields: the object is a map, whether it looks like one or not.
pub(crate) const SHAPE_PROPERTIES_MAX: usize = 1_000;

/// Types that are discovered in a stream. An application that writes ids into its types has more,
/// and must not fill a disk with files.
pub(crate) const DISCOVERED_TYPES_MAX: usize = 1_000;

/// Bytes that the shapes of all discovered types may take: a hundred thousand properties.
pub(crate) const DISCOVERED_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of an event's data that is looked at to discover its shape: as values they may take a
/// hundred times as much for a moment.
pub(crate) const DISCOVERED_EVENT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the name of a file that is written: what file systems hold, less the ending of the file
/// beside it that is written first.
pub(crate) const FILE_NAME_BYTES_MAX: usize = 255 - ".new".len();

/// Schemas inside one schema, itself included.
pub(crate) const NODES_MAX: usize = 10_000;

/// Properties that one object of a schema may name: which of them were there is kept in a bit each.
pub(crate) const PROPERTIES_MAX: usize = 1_024;

/// Schemas that may apply to one value because one refers to the next (`$ref`, `allOf`, `anyOf` and
/// their like): each is a call on the stack.
pub(crate) const IN_PLACE_DEPTH_MAX: usize = 16;

/// How often a schema may look at one byte of an event: each branch of `anyOf` and its like is a
/// look of its own, and branches inside branches multiply. Passing over a value without looking
/// into it is none.
pub(crate) const LOOKS_MAX: u32 = 64;

/// Bytes of a `pattern`.
pub(crate) const PATTERN_BYTES_MAX: usize = 1_024;

/// Bytes of a `pattern` in each of the forms that it takes on its way to an automaton, and as one:
/// some ten milliseconds at worst. What people write takes 2 to 20 KiB, and a tenth of one.
pub(crate) const PATTERN_COMPILED_BYTES_MAX: usize = 256 * 1024;

/// Bytes of all compiled patterns of one schema.
pub(crate) const PATTERNS_BYTES_MAX: usize = 1024 * 1024;

/// Values of one `enum`.
pub(crate) const ENUM_VALUES_MAX: usize = 1_000;

/// Bytes of a violation's pointer and of what was expected; what is longer is cut.
pub(crate) const VIOLATION_TEXT_BYTES_MAX: usize = 256;

/// Bytes of what is said of a schema that is not loaded; what is longer is cut.
pub(crate) const LOAD_ERROR_TEXT_BYTES_MAX: usize = 512;

/// Gaps that are told of one pair of schemas.
pub(crate) const GAPS_MAX: usize = 100;

/// Pairs of schemas that are compared for one pair of types. What would take more is undecided.
pub(crate) const PAIRS_MAX: usize = 100_000;
