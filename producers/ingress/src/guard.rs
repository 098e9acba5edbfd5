//! What stands between a request and its handler: the rule of its route is looked up, the caller identified, and
//! whoever the rule does not allow is refused. What has no rule is not there.

use crate::{
    auth::{Caller, Verifier},
    problem::{Kind, Problem},
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
}

impl Guard {
    /// By the tokens that `verifier` believes.
    #[must_use]
    pub fn new(verifier: Verifier) -> Self {
        Self { verifier }
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
enum Asked<'a> {
    Route(&'a Declared),
    OtherMethod(&'a [Declared]),
    Nothing,
}

pub(crate) async fn admit(State(guarded): State<Guarded>, mut request: Request, next: Next) -> Response {
    let route = match guarded.asked(&request) {
        Asked::Route(route) => route,
        Asked::OtherMethod(routes) => return not_allowed(routes),
        Asked::Nothing => return Problem::new(Kind::NotFound, "there is no such path").into_response(),
    };
    match guarded.guard.identify(route, request.headers()).await {
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
    /// The caller, where the rule lets it pass; `None` where nobody has to say who calls.
    async fn identify(&self, route: &Declared, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        let is_told = headers.contains_key(header::AUTHORIZATION);
        match route.access {
            Access::Signed => return Ok(None),
            Access::Public if !is_told => return Ok(None),
            Access::Public | Access::Caller | Access::Scope(_) => {}
        }
        let caller = self.verifier.caller(headers).await?;
        if let Access::Scope(scope) = route.access {
            caller.require(scope)?;
        }
        Ok(Some(caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
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

    fn app() -> Router {
        let surface = Surface::new()
            .get("/open", Rule::public(), async |caller: Option<Caller>| {
                caller.map_or_else(|| "nobody".to_owned(), |caller| caller.owner.to_string())
            })
            .post("/signed", Rule::signed(), async || "signed")
            .get("/own", Rule::caller(), async |caller: Caller| caller.owner.to_string())
            .put("/own", Rule::scope("own:write"), async || "written")
            .get("/careless", Rule::public(), async |caller: Caller| caller.owner.to_string());
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
        let declared = Surface::<()>::new().get("/own", Rule::public(), async || "own");
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
