//! Which clauses of a SELECT go together: a node refuses the rest, in these words.

use super::asked::Asked;
use super::invalid;
use super::tables::{Column, Table};
use crate::dispatch::Error;
use crate::statement::topology::{Select, Test};

/// Looks at the clauses beside the columns and conditions that are known to be the table's.
pub(super) fn check(table: Table, select: &Select, asked: &Asked<'_>) -> Result<(), Error> {
    if select.distinct {
        distinct(table, select, asked)?;
    }
    group_by(table, select)?;
    order_by(table, select)
}

fn distinct(table: Table, select: &Select, asked: &Asked<'_>) -> Result<(), Error> {
    let key = table.key();
    if !select.filters.iter().all(|it| *it.column == *key) {
        return Err(invalid(
            "SELECT DISTINCT with WHERE clause only supports restriction by partition key \
             and/or static columns.",
        ));
    }
    if let Some(column) = asked.of_table().find(|column| !table.is_key(column)) {
        return Err(invalid(format!(
            "SELECT DISTINCT queries must only request partition key columns and/or static \
             columns (not {})",
            column.name
        )));
    }
    if select.filters.is_empty() && asked.of_table().next().is_none() {
        return Err(invalid(format!(
            "SELECT DISTINCT queries must request all the partition key columns (missing {key})"
        )));
    }
    if select.per_partition.is_some() {
        return Err(invalid(
            "PER PARTITION LIMIT is not allowed with SELECT DISTINCT queries",
        ));
    }
    Ok(())
}

/// The columns of the primary key in their order; one that must equal a value may be left out.
fn group_by(table: Table, select: &Select) -> Result<(), Error> {
    let mut left = table.primary_key().iter();
    for name in &select.group_by {
        let column = table.column(name)?;
        let is_column = |it: &&Column| it.name == column.name;
        if !table.primary_key().iter().any(|it| is_column(&it)) {
            return Err(invalid(format!(
                "Group by is currently only supported on the columns of the PRIMARY KEY, got {name}"
            )));
        }
        let next = left.find(|it| is_column(it) || !is_fixed(select, it));
        if !next.is_some_and(|it| is_column(&it)) {
            return Err(invalid(
                "Group by currently only support groups of columns following their declared order \
                 in the PRIMARY KEY",
            ));
        }
        if select.distinct && !table.is_key(column) {
            return Err(invalid(
                "Grouping on clustering columns is not allowed for SELECT DISTINCT queries",
            ));
        }
    }
    Ok(())
}

/// A node orders the rows of a partition, by its clustering columns.
fn order_by(table: Table, select: &Select) -> Result<(), Error> {
    let columns = select.order_by.iter().map(|name| table.column(name));
    let columns: Vec<_> = columns.collect::<Result<_, _>>()?;
    let key = table.key();
    if !columns.is_empty() && !select.filters.iter().any(|it| *it.column == *key) {
        return Err(invalid(
            "ORDER BY is only supported when the partition key is restricted by an EQ or an IN.",
        ));
    }
    match columns.iter().find(|column| !table.is_clustering(column)) {
        Some(column) => Err(invalid(format!(
            "Order by is currently only supported on the clustered columns of the PRIMARY KEY, \
             got {}",
            column.name
        ))),
        None => Ok(()),
    }
}

/// Whether it must equal one value.
fn is_fixed(select: &Select, column: &Column) -> bool {
    select.filters.iter().any(|filter| match &filter.test {
        Test::Equals(_) => *filter.column == *column.name,
        Test::In(values) => values.len() == 1 && *filter.column == *column.name,
        Test::InBound(_) => false,
    })
}
