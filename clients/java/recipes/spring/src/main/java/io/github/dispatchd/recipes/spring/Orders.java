// The recipe's program: it places orders, of which some are rolled back, and prints the ids of the
// events whose orders the database has. They, and no others, must be in the stream.
package io.github.dispatchd.recipes.spring;

import io.github.dispatchd.client.DispatchdClient;
import io.github.dispatchd.client.DispatchdException;
import io.github.dispatchd.client.Event;
import java.time.Duration;
import java.util.Map;
import org.springframework.jdbc.core.JdbcTemplate;
import org.springframework.jdbc.datasource.DataSourceTransactionManager;
import org.springframework.jdbc.datasource.DriverManagerDataSource;
import org.springframework.transaction.TransactionDefinition;
import org.springframework.transaction.support.TransactionTemplate;

final class Orders {
  private final JdbcTemplate database;
  private final TransactionTemplate transactions;
  private final TransactionTemplate newTransactions;
  private final AfterCommit events;

  private Orders(DispatchdClient client) {
    DriverManagerDataSource source =
        new DriverManagerDataSource("jdbc:h2:mem:orders;DB_CLOSE_DELAY=-1");
    DataSourceTransactionManager manager = new DataSourceTransactionManager(source);
    database = new JdbcTemplate(source);
    transactions = new TransactionTemplate(manager);
    newTransactions = new TransactionTemplate(manager);
    newTransactions.setPropagationBehavior(TransactionDefinition.PROPAGATION_REQUIRES_NEW);
    events = new AfterCommit(client, failure -> System.err.println(failure.getMessage()));
    database.execute("create table orders (number int, event varchar(36))");
  }

  public static void main(String[] args) {
    try (DispatchdClient client = DispatchdClient.create()) {
      Orders orders = new Orders(client);
      orders.commits();
      orders.rollsBack();
      orders.commitsWithinWhatRollsBack();
      orders.rollsBackWhatTheDaemonRefuses();
      orders.needsATransaction();
      if (client.flush(Duration.ofSeconds(30)) > 0) throw new AssertionError("not confirmed");
      if (client.counters().acked() != 3) throw new AssertionError("" + client.counters());
      orders
          .database
          .queryForList("select event from orders", String.class)
          .forEach(System.out::println);
    }
  }

  private void place(int number, String type) {
    Event event = Event.of(type, Map.of("recipe", "spring", "number", number));
    String id = events.publish(event.partitionKey("order-" + number));
    database.update("insert into orders values (?, ?)", number, id);
  }

  private void commits() {
    transactions.executeWithoutResult(
        status -> {
          place(1, "order.placed");
          place(2, "order.placed");
        });
  }

  private void rollsBack() {
    transactions.executeWithoutResult(
        status -> {
          place(3, "order.placed");
          status.setRollbackOnly();
        });
  }

  private void commitsWithinWhatRollsBack() {
    transactions.executeWithoutResult(
        status -> {
          place(4, "order.placed");
          newTransactions.executeWithoutResult(inner -> place(5, "order.placed"));
          place(6, "order.placed");
          status.setRollbackOnly();
        });
  }

  private void rollsBackWhatTheDaemonRefuses() {
    try {
      transactions.executeWithoutResult(
          status -> {
            place(7, "order.placed");
            place(8, "");
          });
      throw new AssertionError("it was committed");
    } catch (DispatchdException e) {
      if (!e.code().equals("InvalidRequest")) throw e;
    }
  }

  private void needsATransaction() {
    try {
      place(9, "order.placed");
      throw new AssertionError("it was published");
    } catch (IllegalStateException e) {
      // As it should be.
    }
  }
}
