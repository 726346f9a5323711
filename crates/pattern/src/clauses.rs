//! Takes the alternatives of a pattern apart: from fields and `$or`s to clauses, in each of which
//! every field must hold. A pattern matches if one of its clauses does.

use crate::error::Reason;
use crate::syntax::Scope;
use crate::test::Test;

/// What alternatives may come to, multiplied. EventBridge has the same limit. A field that may have
/// a value or be missing is two alternatives.
const CLAUSES_MAX: usize = 1000;

/// What one field must be in a clause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Term<'a> {
    pub(crate) path: &'a str,
    /// Any of them will do; `None` if the field must be missing.
    pub(crate) tests: Option<&'a [Test]>,
}

pub(crate) type Clause<'a> = Vec<Term<'a>>;

/// The clauses of a pattern, each sorted by path.
///
/// # Errors
/// If they would be too many.
pub(crate) fn clauses(scope: &Scope) -> Result<Vec<Clause<'_>>, Reason> {
    let mut clauses = of_scope(scope)?;
    for clause in &mut clauses {
        clause.sort_by_key(|term| term.path);
    }
    Ok(clauses)
}

fn of_scope(scope: &Scope) -> Result<Vec<Clause<'_>>, Reason> {
    let mut clauses = vec![Clause::new()];
    for (path, field) in &scope.fields {
        let has_value = (!field.tests.is_empty()).then_some(Some(&*field.tests));
        let is_absent = field.may_be_absent.then_some(None);
        let ways = has_value.into_iter().chain(is_absent);
        let ways: Vec<Clause<'_>> = ways.map(|tests| vec![Term { path, tests }]).collect();
        clauses = product(clauses, &ways)?;
    }
    for alternatives in &scope.ors {
        let mut ways = Vec::new();
        for alternative in alternatives {
            ways.extend(of_scope(alternative)?);
        }
        clauses = product(clauses, &ways)?;
    }
    Ok(clauses)
}

/// Every clause with every way.
fn product<'a>(
    mut clauses: Vec<Clause<'a>>,
    ways: &[Clause<'a>],
) -> Result<Vec<Clause<'a>>, Reason> {
    if clauses.len() * ways.len() > CLAUSES_MAX {
        return Err(Reason::TooManyCombinations { max: CLAUSES_MAX });
    }
    if let [way] = ways {
        clauses.iter_mut().for_each(|clause| clause.extend(way));
        return Ok(clauses);
    }
    let with = |clause: Clause<'a>| ways.iter().map(move |way| [&*clause, way].concat());
    Ok(clauses.into_iter().flat_map(with).collect())
}
