//! A rule that fails, rejects and puts back by what it sees, and dice to decide when.

use tidemill_event::{Field, FieldType};
use tidemill_runtime::testing::TextGuest;

/// Says yes to every row and counts them per key. By amount: 13 is rejected, 14 is to come again after half a second until its key has
/// counted three rows, 666 traps in `boom`, 777 never ends.
pub(crate) fn moody_rule(poison: u32) -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, false)])
        .state(vec![(Field::new("count", FieldType::Int64, false), Some("0"))])
        .fields("(func $boom unreachable)")
        .call(&MOODY.replace("POISON", &poison.to_string()))
        .build()
}

/// Says yes to every row and keeps nothing. By amount: 666 traps.
pub(crate) fn picky_rule() -> Vec<u8> {
    TextGuest::rule(vec![Field::new("amount", FieldType::Float64, false)]).call(PICKY).build()
}

const PICKY: &str = r#"
    (local $row i32) (local $length i32)
    (loop $next
      (if (f64.eq (f64.load (i32.add (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))) (i32.shl (local.get $row) (i32.const 3)))) (f64.const 666))
        (then unreachable))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
    (local.set $length (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))
    (local.set $row (call $take (local.get $length)))
    (memory.fill (local.get $row) (i32.const 255) (local.get $length))
    (call $answer (local.get $row) (local.get $length))"#;

const MOODY: &str = r#"
    (local $bits i32) (local $length i32) (local $row i32) (local $counts i32) (local $bytes i32) (local $at i32)
    (local $values i32) (local $notes i32) (local $noted i32) (local $note i32) (local $v f64) (local $again i32)
    (local.set $length (i32.shr_u (i32.add (local.get $rows) (i32.const 7)) (i32.const 3)))
    (local.set $bits (call $take (local.get $length)))
    (memory.fill (local.get $bits) (i32.const 255) (local.get $length))
    (local.set $bytes (i32.shl (local.get $keys) (i32.const 3)))
    (local.set $counts (call $take (i32.add (local.get $bytes) (i32.const 32))))
    (memory.copy (local.get $counts) (i32.add (local.get $data) (i32.load offset=8 (local.get $state))) (local.get $bytes))
    (local.set $values (i32.add (local.get $data) (i32.load offset=8 (local.get $columns))))
    (local.set $notes (call $take (i32.mul (local.get $rows) (i32.const 20))))
    (loop $next
      (local.set $v (f64.load (i32.add (local.get $values) (i32.shl (local.get $row) (i32.const 3)))))
      (if (f64.eq (local.get $v) (f64.const POISON)) (then (call $boom)))
      (if (f64.eq (local.get $v) (f64.const 777)) (then (loop $spin (br $spin))))
      (local.set $at (i32.add (local.get $counts) (i32.shl
        (i32.load (i32.add (i32.add (local.get $data) (local.get $row_keys)) (i32.shl (local.get $row) (i32.const 2)))) (i32.const 3))))
      (local.set $again (i32.and (f64.eq (local.get $v) (f64.const 14)) (i64.lt_s (i64.load (local.get $at)) (i64.const 3))))
      (i64.store (local.get $at) (i64.add (i64.load (local.get $at)) (i64.const 1)))
      (if (i32.or (local.get $again) (f64.eq (local.get $v) (f64.const 13)))
        (then
          (local.set $note (i32.add (local.get $notes) (i32.mul (local.get $noted) (i32.const 20))))
          (i32.store (local.get $note) (local.get $row))
          (i32.store offset=4 (local.get $note) (local.get $again))
          (i32.store offset=8 (local.get $note) (i32.mul (local.get $again) (i32.const 500)))
          (i32.store offset=12 (local.get $note) (i32.const 0))
          (i32.store offset=16 (local.get $note) (i32.const 0))
          (local.set $noted (i32.add (local.get $noted) (i32.const 1)))))
      (local.set $row (i32.add (local.get $row) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $row) (local.get $rows))))
    (drop (call $answer (local.get $bits) (local.get $length)))
    (local.set $at (i32.add (local.get $counts) (local.get $bytes)))
    (memory.fill (local.get $at) (i32.const 0) (i32.const 28))
    (i32.store8 (local.get $at) (i32.const 1))
    (i32.store offset=4 (local.get $at) (i32.const -1))
    (i32.store offset=20 (global.get $ret) (local.get $at))
    (i32.store offset=24 (global.get $ret) (i32.const 1))
    (i32.store offset=28 (global.get $ret) (local.get $counts))
    (i32.store offset=32 (global.get $ret) (local.get $bytes))
    (i32.store offset=36 (global.get $ret) (local.get $notes))
    (i32.store offset=40 (global.get $ret) (local.get $noted))
    (global.get $ret)"#;

/// A small generator, so that a failing seed can be named.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}
