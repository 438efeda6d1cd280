//! `status = 'ok' and amount > 0` over 4,096 rows: on a dictionary, on plain text, and as arrow's own kernels called by
//! hand on plain text, which is the least it can take. (A row loop written here would be built at this crate's low optimisation.)

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::types::UInt32Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datafusion_common::arrow::compute::and_kleene;
use datafusion_common::arrow::compute::kernels::cmp::{eq, gt};
use tidemill_event::{Field, FieldType};
use tidemill_expr::{Expression, Scope, ScopeColumn};

const ROWS: usize = 4096;
const STATUSES: [&str; 8] = ["ok", "error", "timeout", "refused", "retry", "unknown", "cancelled", "partial"];

fn batch(statuses: ArrayRef) -> RecordBatch {
    let amounts = Int64Array::from_iter_values((0..ROWS as i64).map(|row| row * 31 % 101 - 50));
    let status = Field::new("status", FieldType::String, true).arrow().with_data_type(statuses.data_type().clone());
    let schema = Schema::new(vec![status, Field::new("amount", FieldType::Int64, true).arrow()]);
    RecordBatch::try_new(Arc::new(schema), vec![statuses, Arc::new(amounts)]).expect("two columns")
}

fn benches(criterion: &mut Criterion) {
    let status = |row: usize| STATUSES[(row * 7 + row / 3) % 16 % 8];
    let plain: StringArray = (0..ROWS).map(|row| Some(status(row))).collect();
    let dictionary: DictionaryArray<UInt32Type> = (0..ROWS).map(status).collect();
    let fields = [Field::new("status", FieldType::String, true), Field::new("amount", FieldType::Int64, true)];
    let scope = Scope::new(fields.into_iter().map(|field| ScopeColumn { qualifier: None, field }).collect());
    let mut group = criterion.benchmark_group("where");
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, sql) in [("two", "status = 'ok' and amount > 0"), ("one", "status = 'ok'"), ("like", "status like '%o%'")] {
        let expression = Expression::parse_condition(sql, &scope).expect("valid");
        let (on_dictionary, on_plain) = (batch(Arc::new(dictionary.clone())), batch(Arc::new(plain.clone())));
        group.bench_function(format!("{name}/dictionary"), |bencher| {
            bencher.iter(|| expression.evaluate(black_box(&on_dictionary)))
        });
        group.bench_function(format!("{name}/plain"), |bencher| bencher.iter(|| expression.evaluate(black_box(&on_plain))));
    }
    let rows = batch(Arc::new(plain.clone()));
    let (ok, zero) = (StringArray::new_scalar("ok"), Int64Array::new_scalar(0));
    group.bench_function("two/kernels by hand", |bencher| {
        bencher.iter(|| {
            let rows = black_box(&rows);
            let status = eq(rows.column(0), &ok).expect("text");
            and_kleene(&status, &gt(rows.column(1), &zero).expect("int64")).expect("two conditions")
        });
    });
    group.finish();
    criterion.bench_function("parse", |bencher| {
        bencher.iter(|| Expression::parse(black_box("status = 'ok' and amount * 2 > 10"), &scope).expect("valid"));
    });
}

criterion_group!(all, benches);
criterion_main!(all);
