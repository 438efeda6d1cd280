//! Every bound of the HTTP side, and what happens when it is met. Nothing here is a setting: what an operator may choose is in
//! [`crate::Settings`].

use std::time::Duration;

use tidemill_event::json::DecodeLimits;

/// Bytes of all header lines of a request. Beyond: refused with 431.
pub(crate) const HEADER_BYTES_MAX: usize = 16 << 10;
/// Header lines of a request. Beyond: refused with 431 by hyper.
pub(crate) const HEADERS_MAX: usize = 64;
/// What hyper reads ahead of one HTTP/1 connection: large uploads come in pieces up to this size. Full: it stops reading.
pub(crate) const READ_BUFFER_BYTES: usize = 256 << 10;
/// Requests at once on one HTTP/2 connection. Beyond: the stream is refused.
pub(crate) const HTTP2_STREAMS_MAX: u32 = 100;
/// What of an answer goes to HTTP/2 at once: what waits there for its client's window. Beyond: it waits in the answer.
pub(crate) const HTTP2_PIECE_BYTES: usize = 16 << 10;
/// How often an idle HTTP/2 connection is pinged, and how long the answer may take before it is closed.
pub(crate) const HTTP2_KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));

/// Pieces of a checkpoint's file that wait on their way, in or out. Full: who sends them waits.
pub(crate) const SNAPSHOT_PIECES_MAX: usize = 4;
/// The longest row, in bytes. Beyond: that row is rejected.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;
/// What a row may look like. Beyond: that row is rejected.
pub(crate) const DECODE_LIMITS: DecodeLimits = DecodeLimits { depth_max: 64, line_bytes_max: LINE_BYTES_MAX };
/// An `application/json` body of events. Beyond: 413, nothing taken.
pub(crate) const JSON_BODY_BYTES_MAX: u64 = 32 << 20;
/// Bytes of bodies and Arrow messages that all requests together hold because they are read whole. Beyond: 503.
pub(crate) const JSON_HELD_BYTES_MAX: usize = 256 << 20;
/// How fast a body comes that is held until its end, on the average, once it has taken as long as a body may stand still. Slower: 408.
pub(crate) const WHOLE_BODY_BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// What is still read of a body that was refused before its end, so that its client hears why. Beyond: the connection is cut.
pub(crate) const DRAINED_BYTES_MAX: usize = 4 << 20;
/// How long that may take. Beyond: the connection is cut.
pub(crate) const DRAIN_WAIT: Duration = Duration::from_millis(500);
/// Bytes of a packed body as it comes. Beyond: 413, what was accepted stays.
pub(crate) const PACKED_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a packed body of which nothing comes out, in a row: skippable frames, empty members. Beyond: 413.
pub(crate) const PACKED_SILENT_BYTES_MAX: u64 = 1 << 20;
/// Bytes that a packed body unpacks to. Beyond: 413, what was accepted stays.
pub(crate) const UNPACKED_BYTES_MAX: u64 = 16 << 30;
/// How many times more may come out of a packed body than came. Beyond: 413.
pub(crate) const UNPACKED_RATIO_MAX: u64 = 100;
/// So many bytes may come out before the ratio counts: small bodies of few texts pack very well.
pub(crate) const UNPACKED_FREE_BYTES: u64 = 256 << 10;
/// What is unpacked at once. Full: it is decoded before more is unpacked.
pub(crate) const UNPACKED_PIECE_BYTES: usize = 64 << 10;
/// The window of a zstd body, as a power of two: 8 MiB, which levels up to 19 keep to. Beyond: 413.
pub(crate) const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// A body of known length up to this size is decoded into its stream's shared builder. Beyond: it gets a decoder of its own.
pub(crate) const SHARED_BODY_BYTES_MAX: u64 = 16 << 10;
/// Rows in a stream's shared builder that the journal has not taken yet, in bytes. Beyond: 503.
pub(crate) const FILL_BYTES_MAX: usize = 4 << 20;
/// Decoded rows of one request that become one append. Beyond: the next append.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;
/// Rows of one append. Beyond: the next append.
pub(crate) const CHUNK_ROWS: usize = 16 << 10;
/// Rows of an Arrow table that are decoded before others have their turn and full chunks are appended.
pub(crate) const TABLE_ROWS: usize = 4 << 10;
/// Rows an undeclared stream looks at before it fixes its fields. Beyond: later ones must fit, widen, or are kept as unknown.
pub(crate) const INFER_ROWS_MAX: usize = 4 << 10;
/// Rows of one request that were appended and are not on disk yet. Beyond: the request is read no further until some are.
pub(crate) const REQUEST_UNDURABLE_BYTES_MAX: usize = 4 << 20;
/// Requests with decoders of their own at once. Beyond: they wait, then 503.
pub(crate) const UPLOADS_MAX: usize = 512;
/// How long an upload waits for its turn, or for room in the journal's queue. Beyond: 503 with what was accepted.
pub(crate) const OVERLOAD_WAIT: Duration = Duration::from_secs(2);
/// How long a request waits for another one of its name (`Idempotency-Key`, producer and sequence). Beyond: 503.
pub(crate) const RETRY_TURN_WAIT: Duration = Duration::from_secs(30);
/// The longest name of a request. Beyond: refused with 400.
pub(crate) const WRITER_BYTES_MAX: usize = 200;
/// What is remembered of an answer, for the request's retries. Beyond: fewer rejections are listed.
pub(crate) const REMEMBERED_ANSWER_BYTES_MAX: usize = 16 << 10;
/// Rejections an answer lists. Beyond: they are counted.
pub(crate) const REJECTIONS_LISTED_MAX: usize = 100;
/// Bytes of a rejected row that are kept. Beyond: cut (and kept as `bytes`, because what is left is no JSON).
pub(crate) const REJECTED_ROW_BYTES_MAX: usize = 1 << 20;
/// Decoders a stream keeps for the next upload. Beyond: dropped.
pub(crate) const SPARE_DECODERS_MAX: usize = 4;

/// Schemas of a stream that are listed. Beyond: the newest.
pub(crate) const VERSIONS_LISTED_MAX: u32 = 100;
/// A stream definition or a pipeline. Beyond: 413.
pub(crate) const DECLARATION_BYTES_MAX: usize = 1 << 20;
/// A component. Beyond: 413 (what the runtime takes is less still, and refused with 422).
pub(crate) const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// The body of a table. Beyond: 413.
pub(crate) const TABLE_BYTES_MAX: usize = 128 << 20;
/// Tables being uploaded or read at once: each is held whole, and as columns. Beyond: 429.
pub(crate) const TABLES_HELD_MAX: usize = 2;
/// Components being uploaded or compiled at once. Beyond: 429.
pub(crate) const COMPONENTS_HELD_MAX: usize = 8;
/// Components checked and compiled at once, one a tenant. Beyond: they wait.
pub(crate) const COMPILES_MAX: usize = 2;
/// Components of a tenant that wait while one is compiled. Beyond: 429.
pub(crate) const COMPILES_WAITING_MAX: usize = 2;

/// Backups at once: each keeps disk space. Beyond: 429.
pub(crate) const BACKUPS_MAX: usize = 1;
/// Pieces of a backup on their way to its client. Full: the backup waits; nothing else does.
pub(crate) const BACKUP_PIECES_MAX: usize = 4;
/// Their size.
pub(crate) const BACKUP_PIECE_BYTES: usize = 256 << 10;

/// How long requests in flight may still take once the log has failed: nothing more is acknowledged. Beyond: cut.
pub(crate) const FAILED_DRAIN: Duration = Duration::from_millis(500);

/// Rows a reader takes from the log at once. Beyond: the next read.
pub(crate) const READ_ROWS: usize = 4096;
/// Bytes in memory a reader takes from the log at once: what a client that stops reading holds, about twice that as text. Beyond: the
/// next read.
pub(crate) const READ_BYTES: usize = 128 << 10;
/// The same for a reader of Arrow, whose batches shall not be small. Beyond: the next read.
pub(crate) const READ_COLUMNS_BYTES: usize = 512 << 10;

/// Tokens of one tenant, those too that have expired. Beyond: 422 until one is revoked.
pub(crate) const TOKENS_MAX: usize = 1000;
/// The longest label of a token. Beyond: 422.
pub(crate) const TOKEN_LABEL_CHARS_MAX: usize = 100;
/// How often what bearers of expired tokens left open is ended.
pub(crate) const TOKENS_EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// How long a reader of server-sent events is told to wait before it connects again.
pub(crate) const EVENT_STREAM_RETRY: Duration = Duration::from_secs(1);
/// Consumers of one stream. Beyond: 422 until one is deleted.
pub(crate) const CONSUMERS_MAX: usize = 1000;

/// A message from or to a WebSocket's client. Beyond: closed with 1009. (A single row may make a message to the client longer.)
pub(crate) const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What an idle WebSocket has as buffers, each way: a thousand of them shall not hold hundreds of megabytes.
pub(crate) const WEBSOCKET_BUFFER_BYTES: usize = 8 << 10;
/// What may wait in a WebSocket's write buffer: one message, however much escaping has made its row grow. Beyond: closed.
pub(crate) const WEBSOCKET_WRITE_BYTES_MAX: usize = 8 << 20;
/// Publishes of one WebSocket that were not answered yet, and their bytes. Beyond: it is read no further until some are.
pub(crate) const WEBSOCKET_PUBLISHES_MAX: usize = 64;
/// The bytes of those.
pub(crate) const WEBSOCKET_PUBLISH_BYTES_MAX: usize = 4 << 20;
/// Subscriptions of one WebSocket. Beyond: refused.
pub(crate) const WEBSOCKET_SUBSCRIPTIONS_MAX: usize = 16;
/// Rows and bytes in memory that become one message of a subscription. Beyond: the next message.
pub(crate) const WEBSOCKET_READ_ROWS: usize = 1024;
/// The bytes of those.
pub(crate) const WEBSOCKET_READ_BYTES: usize = 128 << 10;
/// Pings and pongs of one WebSocket in a second. Beyond: closed with 1008.
pub(crate) const WEBSOCKET_CONTROL_FRAMES_MAX: u32 = 100;
/// Frames of one WebSocket that cannot be read. Beyond: closed with 1008.
pub(crate) const WEBSOCKET_BAD_FRAMES_MAX: u32 = 16;
/// How long the other side may take to answer a close. Then: cut.
pub(crate) const WEBSOCKET_CLOSING: Duration = Duration::from_secs(1);

/// What a refused client is told to wait before it tries again, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u32 = 1;
