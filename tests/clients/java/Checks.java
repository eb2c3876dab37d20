import java.util.List;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.function.Consumer;

/**
 * Checks of a node with Kafka's own client. Prints {@code ok NAME} or {@code FAILED NAME: why} for each
 * check; the arguments are the node's address and, for the checks of consumer groups instead of the others,
 * {@code groups} with the classic protocol, {@code server-side-groups} with the server's own.
 */
public final class Checks {
    /** Groups of checks that need nothing from each other. */
    private static final List<Consumer<Checks>> SECTIONS =
            List.of(Producing::run, Consuming::run, Administering::run);

    final String bootstrap;
    private volatile boolean failed;

    Checks(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    /** The body of a check; it fails by throwing. */
    interface Body {
        void run() throws Exception;
    }

    /** Runs one check; the others go on where it fails. */
    void check(String name, Body body) {
        try {
            body.run();
            System.out.println("ok " + name);
        } catch (Exception | AssertionError error) {
            failed = true;
            System.out.println("FAILED " + name + ": " + error);
        }
    }

    static void equal(String what, Object got, Object want) {
        if (!Objects.equals(got, want)) {
            throw new AssertionError(what + ": " + want + " was expected, " + got + " came");
        }
    }

    /** Holds that a call fails, with this error of Kafka's. */
    static void refused(Class<? extends Exception> want, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (ExecutionException error) {
            equal("error", error.getCause().getClass(), want);
            return;
        }
        throw new AssertionError(want + " was expected, the call succeeded");
    }

    public static void main(String[] arguments) {
        Checks checks = new Checks(arguments[0]);
        switch (arguments.length > 1 ? arguments[1] : "all") {
            case "groups" -> Grouping.classic(checks);
            case "server-side-groups" -> Grouping.serverSide(checks);
            default -> SECTIONS.forEach(section -> section.accept(checks));
        }
        System.exit(checks.failed ? 1 : 0);
    }
}
