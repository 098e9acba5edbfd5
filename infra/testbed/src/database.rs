//! A database of the test's own.

use chassis::settings::Environment;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

/// Password of every role on the test stack.
pub(crate) const PASSWORD: &str = "mambogo";

/// A clone of the migrated template; dropped with this value.
#[derive(Debug)]
pub struct Database {
    admin_url: String,
    name: String,
}

impl Database {
    /// Clones the template, which is made first where this set of migrations has none yet.
    pub async fn create() -> Self {
        let admin_url = Environment::process()
            .text_or("TEST_ADMIN_DATABASE_URL", "postgres://mambogo_admin:mambogo@127.0.0.1:35432/mambogo");
        let mut admin = PgConnection::connect(&admin_url)
            .await
            .unwrap_or_else(|e| panic!("{admin_url}: {e}; start the test stack with `make test-stack-up`"));
        let template = ensure_template(&mut admin, &admin_url).await;
        let name = format!("t_{}", chassis::ids::random().simple());
        // cloning needs nobody else on the template: one at a time
        admin.execute("SELECT pg_advisory_lock(7221015)").await.unwrap();
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {name} TEMPLATE {template}"))).await.unwrap();
        admin.execute("SELECT pg_advisory_unlock(7221015)").await.unwrap();
        Self { admin_url, name }
    }

    /// Another database that holds what this one holds now. Sessions on this one are ended for it.
    pub async fn copy(&self) -> Self {
        let mut admin = PgConnection::connect(&self.admin_url).await.unwrap();
        let name = format!("t_{}", chassis::ids::random().simple());
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1";
        sqlx::query(end).bind(&self.name).execute(&mut admin).await.unwrap();
        let copy = format!("CREATE DATABASE {name} TEMPLATE {}", self.name);
        admin.execute(AssertSqlSafe(copy)).await.unwrap();
        Self { admin_url: self.admin_url.clone(), name }
    }

    /// The URL for a role: `orders` connects as `mambogo_orders`; also `inventory`, `payments`, `sandbox`,
    /// `catalog`, `webhooks`, `edge`, `relay`, `audit`.
    pub fn url(&self, role: &str) -> String {
        let (_, host) = split(&self.admin_url);
        format!("postgres://mambogo_{role}:{PASSWORD}@{host}/{}", self.name)
    }

    /// The administrator's URL.
    pub fn admin_url(&self) -> String {
        with_database(&self.admin_url, &self.name)
    }

    /// A connection as that role.
    pub async fn connect(&self, role: &str) -> PgConnection {
        PgConnection::connect(&self.url(role)).await.unwrap()
    }

    /// A connection as the administrator.
    pub async fn connect_admin(&self) -> PgConnection {
        PgConnection::connect(&self.admin_url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, name) = (self.admin_url.clone(), self.name.clone());
        // beside the tests, and by the end of the run at the latest with the whole instance: nobody waits for it
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                if let Ok(mut admin) = PgConnection::connect(&url).await {
                    let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    let _ = admin.execute(AssertSqlSafe(drop)).await;
                }
            });
        });
    }
}

async fn ensure_template(admin: &mut PgConnection, admin_url: &str) -> String {
    let template = format!("mambogo_template_{}", migrations::fingerprint());
    admin.execute("SELECT pg_advisory_lock(7221015)").await.unwrap();
    let found = sqlx::query("SELECT count(*) AS n FROM pg_database WHERE datname = $1")
        .bind(&template)
        .fetch_one(&mut *admin)
        .await
        .unwrap();
    if found.get::<i64, _>("n") == 0 {
        // built under another name: a half-made template must never be cloned
        let draft = format!("draft_{}", chassis::ids::random().simple());
        admin.execute(AssertSqlSafe(format!("CREATE DATABASE {draft}"))).await.unwrap();
        let mut connection = PgConnection::connect(&with_database(admin_url, &draft)).await.unwrap();
        migrations::run(&mut connection, PASSWORD).await.unwrap_or_else(|e| panic!("{e}"));
        connection.close().await.unwrap();
        admin.execute(AssertSqlSafe(format!("ALTER DATABASE {draft} RENAME TO {template}"))).await.unwrap();
    }
    admin.execute("SELECT pg_advisory_unlock(7221015)").await.unwrap();
    template
}

/// `postgres://user:password@host:port/database` → (credentials, `host:port`).
fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("postgres://").unwrap_or(url);
    let (credentials, rest) = rest.split_once('@').unwrap_or(("", rest));
    (credentials, rest.split('/').next().unwrap_or(rest))
}

fn with_database(url: &str, name: &str) -> String {
    let (credentials, host) = split(url);
    format!("postgres://{credentials}@{host}/{name}")
}
