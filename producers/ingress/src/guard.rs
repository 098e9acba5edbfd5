//! What stands between a request and its handler: the rule of its route is looked up, the caller identified and counted,
//! and whoever the rule does not allow is refused. What has no rule is not there.

use crate::{
    auth::{Caller, Verifier},
    limit::{Counted, EXEMPT, Limiter, Peer, Policy, Whose},
    problem::{Kind, Problem},
    shed::Shedder,
    surface::{Access, Declared, Rules, rule_for},
};
use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Whom a surface lets in. Cheap to clone.
#[derive(Clone)]
pub struct Guard {
    verifier: Verifier,
    limiter: Option<Limiter>,
    shedder: Option<Shedder>,
}

impl Guard {
    /// By the tokens that `verifier` believes.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier, limiter: None, shedder: None }
    }

    /// The same, counting calls.
    #[must_use]
    pub fn with_limits(self, limiter: Option<Limiter>) -> Self {
        Self { limiter, ..self }
    }

    /// The same, refusing what is too much.
    #[must_use]
    pub fn with_shedding(self, shedder: Option<Shedder>) -> Self {
        Self { shedder, ..self }
    }

    pub(crate) fn over(self, rules: Rules) -> Guarded {
        Guarded { guard: self, rules }
    }
}

/// A guard with the rules of its surface.
#[derive(Clone)]
pub(crate) struct Guarded {
    guard: Guard,
    rules: Rules,
}

/// What a request asks for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Route(&'a Declared),
    OtherMethod(&'a [Declared]),
    Nothing,
}

pub(crate) async fn admit(State(guarded): State<Guarded>, request: Request, next: Next) -> Response {
    let asked = guarded.asked(&request);
    // first of all, for a refusal must cost less than what it refuses
    let place = guarded.guard.shedder.as_ref().map(|shedder| shedder.enter(asked.route())).transpose();
    let _place = match place {
        Ok(place) => place,
        Err(problem) => return problem.into_response(),
    };
    let caller = match asked {
        Asked::Route(route) => guarded.guard.identify(route.access, request.headers()).await,
        // nothing is there to have rights to
        Asked::OtherMethod(_) | Asked::Nothing => Ok(None),
    };
    let counted = guarded.guard.count(&asked, caller.as_ref(), &request).await;
    let mut response = match &counted {
        Some(counted) if !counted.is_granted() => counted.problem().into_response(),
        _ => pass(&asked, caller, request, next).await,
    };
    if let Some(counted) = counted {
        counted.tell(response.headers_mut());
    }
    response
}

impl<'a> Asked<'a> {
    fn route(self) -> Option<&'a Declared> {
        if let Self::Route(route) = self { Some(route) } else { None }
    }
}

/// What the handler says, where the rule lets the caller pass.
async fn pass(
    asked: &Asked<'_>,
    caller: Result<Option<Caller>, Problem>,
    mut request: Request,
    next: Next,
) -> Response {
    let route = match asked {
        Asked::Route(route) => route,
        Asked::OtherMethod(routes) => return not_allowed(routes),
        Asked::Nothing => return Problem::new(Kind::NotFound, "there is no such path").into_response(),
    };
    match caller.and_then(|caller| route.access.allows(caller)) {
        Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
        Ok(None) => {}
        Err(problem) => return problem.into_response(),
    }
    next.run(request).await
}

impl Guarded {
    fn asked(&self, request: &Request) -> Asked<'_> {
        let Some(path) = request.extensions().get::<MatchedPath>() else { return Asked::Nothing };
        let routes = self.rules.at(path.as_str());
        match rule_for(routes, request.method()) {
            Some(route) => Asked::Route(route),
            None if routes.is_empty() => Asked::Nothing,
            None => Asked::OtherMethod(routes),
        }
    }
}

fn not_allowed(routes: &[Declared]) -> Response {
    let mut response = Problem::new(Kind::MethodNotAllowed, "this path has no such method").into_response();
    let allowed: Vec<&str> = routes.iter().map(|route| route.method.as_str()).collect();
    if let Ok(value) = HeaderValue::from_str(&allowed.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

impl Guard {
    /// Who calls; `None` where nobody has to say so, and nobody does.
    async fn identify(&self, access: Access, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        match access {
            Access::Signed => Ok(None),
            Access::Public if !headers.contains_key(header::AUTHORIZATION) => Ok(None),
            Access::Public | Access::Caller | Access::Scope(_) => {
                self.verifier.caller(headers).await.map(Some)
            }
        }
    }

    /// Counts the call, before anything else is done for it. Whoever is not known is counted by address.
    fn count<'a>(
        &'a self,
        asked: &Asked<'_>,
        caller: Result<&'a Option<Caller>, &Problem>,
        request: &'a Request,
    ) -> impl Future<Output = Option<Counted>> + Send + use<'a> {
        let origin = Whose::Address(request.extensions().get::<Peer>().copied(), request.headers());
        let (policy, whose) = match (asked, caller) {
            (Asked::Route(route), Ok(Some(caller))) => (route.class.into(), Whose::Subject(caller)),
            (Asked::Route(route), _) if route.access == Access::Signed => (Policy::Signed, origin),
            _ => (Policy::Anonymous, origin),
        };
        let is_exempt = caller.is_ok_and(|caller| caller.as_ref().is_some_and(|caller| caller.has(EXEMPT)));
        let limiter = self.limiter.as_ref().filter(|_| !is_exempt);
        async move {
            match limiter {
                Some(limiter) => Some(limiter.count(policy, whose).await),
                None => None,
            }
        }
    }
}

impl Access {
    fn allows(self, caller: Option<Caller>) -> Result<Option<Caller>, Problem> {
        if let (Self::Scope(scope), Some(caller)) = (self, &caller) {
            caller.require(scope)?;
        }
        Ok(caller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::About,
        auth::{AuthConfig, mint},
        layers,
        surface::{Rule, Surface},
    };
    use axum::{Router, body::Body, http::Method, http::StatusCode};
    use chassis::{clock::Clock, settings::Secret};
    use schemas::time::Timestamp;
    use std::time::Duration;
    use tokio_util::sync::CancellationToken;
    use tower::ServiceExt;

    fn config() -> AuthConfig {
        AuthConfig::shared(Secret::new("a-secret-that-is-long-enough-for-hs256"), "issuer", "mambogo")
    }

    async fn owner(caller: Caller) -> String {
        caller.owner.to_string()
    }

    async fn whoever(caller: Option<Caller>) -> String {
        caller.map_or_else(|| "nobody".to_owned(), |caller| caller.owner.to_string())
    }

    fn app() -> Router {
        let about = || About::of("x", "Something");
        let surface = Surface::new()
            .get("/open", Rule::public(), whoever, about())
            .post("/signed", Rule::signed(), async || "signed", about())
            .get("/own", Rule::caller(), owner, about())
            .put("/own", Rule::scope("own:write"), async || "written", about())
            .get("/careless", Rule::public(), owner, about());
        layers::around(
            surface.guarded(Guard::new(Verifier::start(&config(), CancellationToken::new()).unwrap())),
        )
    }

    async fn call(method: Method, path: &str, token: Option<&str>) -> (StatusCode, Response) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = app().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        (response.status(), response)
    }

    #[tokio::test]
    async fn each_rule_lets_in_whom_it_names_and_nobody_else() {
        let token = |scopes: &[&str]| {
            let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
            let now = Timestamp(Clock::system().now_millis());
            mint(&config(), "ann", &scopes, now, Duration::from_secs(60)).unwrap()
        };
        let (plain, writer) = (token(&["own:writes"]), token(&["own:write"]));
        let bad = format!("{plain}x");
        let cases = [
            (Method::GET, "/open", None, 200),
            (Method::HEAD, "/open", None, 200),
            (Method::GET, "/open", Some(&plain), 200),
            (Method::GET, "/open", Some(&bad), 401),
            (Method::POST, "/signed", None, 200),
            (Method::POST, "/signed", Some(&bad), 200),
            (Method::GET, "/own", None, 401),
            (Method::HEAD, "/own", None, 401),
            (Method::GET, "/own", Some(&bad), 401),
            (Method::GET, "/own", Some(&plain), 200),
            (Method::PUT, "/own", None, 401),
            (Method::PUT, "/own", Some(&plain), 403),
            (Method::PUT, "/own", Some(&writer), 200),
            // a public route whose handler asks who calls gets no caller out of thin air
            (Method::GET, "/careless", None, 401),
            // what nobody declared is not there, whoever asks
            (Method::DELETE, "/own", Some(&writer), 405),
            (Method::OPTIONS, "/own", None, 405),
            (Method::GET, "/own/", Some(&writer), 404),
            (Method::GET, "/OWN", Some(&writer), 404),
            (Method::GET, "//own", Some(&writer), 404),
        ];
        for (method, path, token, status) in cases {
            let (got, response) = call(method.clone(), path, token.map(String::as_str)).await;
            assert_eq!(got.as_u16(), status, "{method} {path} {token:?}");
            let challenged = response.headers().contains_key(header::WWW_AUTHENTICATE);
            assert_eq!(challenged, matches!(status, 401 | 403), "{method} {path}");
            assert_eq!(response.headers().contains_key(header::ALLOW), status == 405, "{method} {path}");
        }
    }

    #[tokio::test]
    async fn a_route_that_came_in_beside_the_rules_cannot_be_reached() {
        let declared =
            Surface::<()>::new().get("/own", Rule::public(), async || "own", About::of("x", "Something"));
        let rules = Rules::of(declared.declared());
        let app = Router::new()
            .route("/own", axum::routing::get(async || "own").post(async || "written"))
            .route("/beside", axum::routing::get(async || "beside"))
            .layer(axum::middleware::from_fn_with_state(
                Guard::new(Verifier::start(&config(), CancellationToken::new()).unwrap()).over(rules),
                admit,
            ));
        let status = async |method: Method, path: &str| {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap().status().as_u16()
        };
        assert_eq!(status(Method::GET, "/own").await, 200);
        assert_eq!(status(Method::POST, "/own").await, 405);
        assert_eq!(status(Method::GET, "/beside").await, 404);
    }
}
