//! The surface of a service: its routes, each with the rule of who may call it. A route enters with its rule or not at
//! all, and a surface is served only through a [`Guard`], which refuses what no rule allows: a forgotten rule is a route
//! that cannot be reached, not one that everybody reaches. Tests and the API's description walk the same list.

use crate::{
    api::About,
    guard::{self, Guard},
};
use axum::{
    Router,
    handler::Handler,
    http::Method,
    middleware,
    routing::{MethodFilter, on},
};
use std::{collections::HashMap, sync::Arc};

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody. A token is not asked for; one that is sent has to hold.
    Public,
    /// Everybody; the handler checks a signature over the body. Tokens are not looked at.
    Signed,
    /// Whoever has a valid token; a handler gives the caller's own objects only.
    Caller,
    /// Whoever has a valid token with this scope.
    Scope(&'static str),
}

/// What a call costs the system: each class has a limit of its own ([`crate::limit`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Answered from a cache or one coalesced read.
    Read,
    /// One record on the log, or a few writes.
    Write,
    /// Hundreds of records by one call.
    Bulk,
}

/// The rule of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Who may call.
    pub access: Access,
    /// What a call costs; by default by its method: GET reads, all else writes.
    pub class: Option<Class>,
}

impl Rule {
    /// For everybody.
    #[must_use]
    pub const fn public() -> Self {
        Self { access: Access::Public, class: None }
    }

    /// For whoever signs the body.
    #[must_use]
    pub const fn signed() -> Self {
        Self { access: Access::Signed, class: None }
    }

    /// For whoever has a token.
    #[must_use]
    pub const fn caller() -> Self {
        Self { access: Access::Caller, class: None }
    }

    /// For whoever has a token with `scope`.
    #[must_use]
    pub const fn scope(scope: &'static str) -> Self {
        Self { access: Access::Scope(scope), class: None }
    }

    /// The same, in another class than its method says.
    #[must_use]
    pub const fn of(self, class: Class) -> Self {
        Self { class: Some(class), ..self }
    }
}

/// A route as it was declared.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The method; GET stands for HEAD too.
    pub method: Method,
    /// The path template, as `/api/orders/{id}`.
    pub path: &'static str,
    /// Who may call.
    pub access: Access,
    /// What a call costs.
    pub class: Class,
    /// What is told of it.
    pub about: About,
}

/// Routes with their rules.
#[derive(Debug)]
pub struct Surface<S = ()> {
    router: Router<S>,
    declared: Vec<Declared>,
}

impl<S: Clone + Send + Sync + 'static> Default for Surface<S> {
    fn default() -> Self {
        Self { router: Router::new(), declared: Vec::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Surface<S> {
    /// No route yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `GET path` (and `HEAD`).
    #[must_use]
    pub fn get<H, T>(self, path: &'static str, rule: Rule, handler: H, about: About) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(Method::GET, MethodFilter::GET, path, rule, handler, about)
    }

    /// `POST path`.
    #[must_use]
    pub fn post<H, T>(self, path: &'static str, rule: Rule, handler: H, about: About) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(Method::POST, MethodFilter::POST, path, rule, handler, about)
    }

    /// `PUT path`.
    #[must_use]
    pub fn put<H, T>(self, path: &'static str, rule: Rule, handler: H, about: About) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(Method::PUT, MethodFilter::PUT, path, rule, handler, about)
    }

    /// `PATCH path`.
    #[must_use]
    pub fn patch<H, T>(self, path: &'static str, rule: Rule, handler: H, about: About) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(Method::PATCH, MethodFilter::PATCH, path, rule, handler, about)
    }

    /// `DELETE path`.
    #[must_use]
    pub fn delete<H, T>(self, path: &'static str, rule: Rule, handler: H, about: About) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        self.add(Method::DELETE, MethodFilter::DELETE, path, rule, handler, about)
    }

    fn add<H: Handler<T, S>, T: 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        rule: Rule,
        handler: H,
        about: About,
    ) -> Self {
        let by_method = if method == Method::GET { Class::Read } else { Class::Write };
        let class = rule.class.unwrap_or(by_method);
        self.declared.push(Declared { method, path, access: rule.access, class, about });
        Self { router: self.router.route(path, on(filter, handler)), declared: self.declared }
    }

    /// All routes, as they were declared.
    #[must_use]
    pub fn declared(&self) -> &[Declared] {
        &self.declared
    }

    /// The same with what its handlers stand on.
    #[must_use]
    pub fn with_state(self, state: S) -> Surface {
        Surface { router: self.router.with_state(state), declared: self.declared }
    }
}

impl Surface {
    /// The routes of both.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.declared.extend(other.declared);
        Self { router: self.router.merge(other.router), declared: self.declared }
    }

    /// The same with `layer` around each route, inside the guard. What it might add beside the routes has no rule, and
    /// cannot be reached.
    #[must_use]
    pub fn around(self, layer: impl FnOnce(Router) -> Router) -> Self {
        Self { router: layer(self.router), declared: self.declared }
    }

    /// The routes behind the guard: the only way to serve them.
    pub fn guarded(self, guard: Guard) -> Router {
        let rules = Rules::of(&self.declared);
        self.router.layer(middleware::from_fn_with_state(guard.over(rules), guard::admit))
    }
}

/// The rules by path template and method.
#[derive(Debug, Clone)]
pub(crate) struct Rules(Arc<HashMap<&'static str, Vec<Declared>>>);

impl Rules {
    pub(crate) fn of(declared: &[Declared]) -> Self {
        let mut rules: HashMap<_, Vec<Declared>> = HashMap::new();
        for route in declared {
            rules.entry(route.path).or_default().push(route.clone());
        }
        Self(Arc::new(rules))
    }

    /// The methods of a path; empty for one that nobody declared.
    pub(crate) fn at(&self, path: &str) -> &[Declared] {
        self.0.get(path).map_or(&[], Vec::as_slice)
    }
}

/// The rule for `method` among those of its path.
pub(crate) fn rule_for<'a>(routes: &'a [Declared], method: &Method) -> Option<&'a Declared> {
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    routes.iter().find(|route| route.method == asked)
}
